package azure

import (
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// maxPages is what one request may write (Put Page).
const maxPages = 4 << 20

// blob is the page blob that is behind a disk: it takes pages as long as access
// to it is granted.
func (c *Cloud) blob(req *http.Request) (*http.Response, error) {
	d := c.uploading(req.URL.Query().Get("sig"))
	if d == nil {
		return c.refuse(refusal(403, "AuthenticationFailed", "Server failed to authenticate the request."))
	}
	query := req.URL.Query()
	if req.Method != http.MethodPut || query.Get("comp") != "page" || !strings.EqualFold(req.Header.Get("x-ms-page-write"), "update") {
		return c.refuse(refusal(400, "UnsupportedQueryParameter", "Only pages can be written here."))
	}
	first, last, ok := pageRange(req)
	switch {
	case !ok || first%sector != 0 || (last+1)%sector != 0 || last >= d.size:
		return c.refuse(refusal(416, "InvalidPageRange", "The page range specified is invalid."))
	case last+1-first > maxPages:
		return c.refuse(refusal(413, "RequestBodyTooLarge", "The request body is too large and exceeds the maximum permissible limit."))
	}
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != last+1-first {
		return c.refuse(refusal(400, "InvalidHeaderValue", "%d bytes for %d.", len(b), last+1-first))
	}
	f, err := os.OpenFile(d.file, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.WriteAt(b, first); err != nil {
		return nil, err
	}
	return respond(201, nil, http.Header{"Etag": {`"1"`}})
}

func pageRange(req *http.Request) (first, last int64, ok bool) {
	text := req.Header.Get("x-ms-range")
	if text == "" {
		text = req.Header.Get("Range")
	}
	from, to, ok := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
	if !ok {
		return 0, 0, false
	}
	first, err := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	return first, last, err == nil && err2 == nil && first >= 0 && first <= last
}

// uploading gives the disk that may be written to with the signature, or nil.
func (c *Cloud) uploading(signature string) *disk {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.disks {
		if signature != "" && d.signature == signature {
			return d
		}
	}
	return nil
}
