package gce

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"google.golang.org/api/storage/v1"
)

// maxObject bounds the size of an object.
const maxObject = 4 << 30

// object is a complete object in the bucket.
type object struct {
	file string
	size int64
}

// upload is a resumable upload that is under way.
type upload struct {
	storage.Object
	file      string
	size      int64
	onlyIfNew bool
}

// findObject gives the object that an image is to be made from. The caller holds
// the lock.
func (c *Cloud) findObject(url string) (*object, error) {
	bucket, name, ok := strings.Cut(strings.TrimPrefix(url, "https://storage.googleapis.com/"), "/")
	if !ok || !strings.HasPrefix(url, "https://storage.googleapis.com/") || bucket != c.cfg.Bucket {
		return nil, invalid("Invalid value for field 'resource.rawDisk.source': '%s'", url)
	}
	if err := c.lacks(url, "storage.objects.get"); err != nil {
		return nil, err
	}
	o := c.objects[name]
	if o == nil {
		return nil, notFound(url)
	}
	return o, nil
}

func (c *Cloud) insertObject(r *request) (any, error) {
	q := r.raw.URL.Query()
	if id := q.Get("upload_id"); id != "" {
		return c.goOn(r.raw, id)
	}
	if err := os.MkdirAll(filepath.Join(c.cfg.Dir, "objects"), 0o700); err != nil {
		return nil, err
	}
	c.mu.Lock()
	u := &upload{file: filepath.Join(c.cfg.Dir, "objects", strconv.FormatUint(c.newID(), 10)), onlyIfNew: q.Get("ifGenerationMatch") == "0"}
	c.mu.Unlock()
	switch q.Get("uploadType") {
	case "resumable":
		if err := decodeObject(r.raw.Body, &u.Object); err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := c.vacant(u); err != nil {
			return nil, err
		}
		id := filepath.Base(u.file)
		c.uploads[id] = u
		return location(c.url + r.raw.URL.Path + "?uploadType=resumable&upload_id=" + id), nil
	case "multipart":
		_, params, err := mime.ParseMediaType(r.raw.Header.Get("Content-Type"))
		if err != nil {
			return nil, invalid("Content-Type: %v", err)
		}
		parts := multipart.NewReader(r.raw.Body, params["boundary"])
		head, err := parts.NextPart()
		if err != nil {
			return nil, invalid("Malformed multipart body: %v", err)
		}
		if err := decodeObject(head, &u.Object); err != nil {
			return nil, err
		}
		media, err := parts.NextPart()
		if err != nil {
			return nil, invalid("Malformed multipart body: %v", err)
		}
		if err := u.write(media); err != nil {
			return nil, err
		}
		return c.complete(u)
	}
	return nil, invalid("uploadType '%s'", q.Get("uploadType"))
}

// decodeObject reads the description of an object. What the API does not have is
// refused.
func decodeObject(r io.Reader, into *storage.Object) error {
	b, err := io.ReadAll(io.LimitReader(r, maxBody))
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return invalid("Invalid JSON payload received: %v", err)
	}
	if into.Name == "" {
		return invalid("Required object name")
	}
	return nil
}

// location answers the start of an upload.
type location string

func (l location) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Location", string(l))
}

// incomplete answers a part of an upload that is not the last one.
type incomplete int64

func (n incomplete) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Http-Status-Code-Override", "308")
	if n > 0 {
		w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", n-1))
	}
}

// goOn takes a part of an upload.
func (c *Cloud) goOn(r *http.Request, id string) (any, error) {
	c.mu.Lock()
	u := c.uploads[id]
	c.mu.Unlock()
	if u == nil {
		return nil, notFound(r.URL.Path)
	}
	var first, end int64
	total := "*"
	span := strings.TrimPrefix(r.Header.Get("Content-Range"), "bytes ")
	if span, t, ok := strings.Cut(span, "/"); ok && span == "*" {
		total = t
	} else if _, err := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%s", &first, &end, &total); err != nil || first != u.size {
		return nil, invalid("Content-Range '%s' after %d bytes", r.Header.Get("Content-Range"), u.size)
	}
	if err := u.write(r.Body); err != nil {
		return nil, err
	}
	if n, err := strconv.ParseInt(total, 10, 64); err != nil || u.size < n {
		return incomplete(u.size), nil
	}
	c.mu.Lock()
	delete(c.uploads, id)
	c.mu.Unlock()
	return c.complete(u)
}

// write adds to what was uploaded.
func (u *upload) write(r io.Reader) error {
	f, err := os.OpenFile(u.file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(r, maxObject-u.size))
	u.size += n
	return err
}

// vacant refuses an object that is there, if the upload wants that. The caller
// holds the lock.
func (c *Cloud) vacant(u *upload) error {
	if u.onlyIfNew && c.objects[u.Name] != nil {
		return &Fault{Status: http.StatusPreconditionFailed, Reason: "conditionNotMet", Message: "At least one of the pre-conditions you specified did not hold."}
	}
	return nil
}

// complete makes an upload an object.
func (c *Cloud) complete(u *upload) (any, error) {
	content, err := os.Open(u.file)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	sum := md5.New()
	if _, err := io.Copy(sum, content); err != nil {
		return nil, err
	}
	if text := base64.StdEncoding.EncodeToString(sum.Sum(nil)); u.Md5Hash != "" && u.Md5Hash != text {
		return nil, invalid("Provided MD5 hash \"%s\" doesn't match calculated MD5 hash \"%s\".", u.Md5Hash, text)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.vacant(u); err != nil {
		return nil, err
	}
	c.objects[u.Name] = &object{u.file, u.size}
	return &storage.Object{Name: u.Name, Bucket: c.cfg.Bucket, Size: uint64(u.size), Md5Hash: u.Md5Hash, Generation: 1}, nil
}

func (c *Cloud) deleteObject(r *request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.objects[r.Name]
	if o == nil {
		return nil, notFound("b/" + c.cfg.Bucket + "/o/" + r.Name)
	}
	delete(c.objects, r.Name)
	_ = os.Remove(o.file) // an import that has begun reads on
	return noContent{}, nil
}

type noContent struct{}

func (noContent) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusNoContent)
}
