package xapi

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// importChunk is how much of an import is written at once. Where there are only
// zeros, nothing is.
const importChunk = 64 << 10

// errTooLarge: the disk has not as many bytes as are sent.
var errTooLarge = errors.New("the disk is smaller than what is sent")

// upload is a PUT of /import_raw_vdi that was let in.
type upload struct {
	p      *Pool
	task   string // "" if there is none
	vdi    string
	cancel <-chan struct{}
}

// importRaw writes what is sent to a disk. As XAPI does, it says 200 before it
// has the data: whether they were stored is said by the task. The connection
// ends when they are.
func (d *door) importRaw(w http.ResponseWriter, r *http.Request) {
	p, q := d.p, r.URL.Query()
	if !p.pass(Call{Method: Import, Params: []any{q.Get("vdi")}, Changes: true}) {
		panic(http.ErrAbortHandler) // the way to end a connection
	}
	w.Header().Set("Connection", "close")
	u, status := p.admitUpload(r, q)
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	if there, ok := d.elsewhere(u.vdi, r.URL); ok {
		w.Header().Set("Location", there)
		w.WriteHeader(http.StatusFound)
		return
	}
	if status, err := u.refuse(r, q); err != nil {
		u.end(err)
		w.WriteHeader(status)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		u.end(internal("%v", err))
		broken(w, err)
		return
	}
	if !p.hold(conn) {
		_ = conn.Close()
		return
	}
	defer p.release(conn)
	u.end(u.receive(buffered, r.ContentLength))
}

// receive answers, and takes n bytes.
func (u *upload) receive(b *bufio.ReadWriter, n int64) error {
	p := u.p
	p.mu.Lock()
	path, size, err := "", int64(0), p.injected(Import)
	if vdi := p.get("VDI", u.vdi); vdi != nil && err == nil {
		if err = p.allowVDI(u.vdi, "import"); err == nil {
			path, size = p.file(vdi), vdi.number("virtual_size")
			p.imports[u.vdi]++
			defer func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				if p.imports[u.vdi]--; p.imports[u.vdi] == 0 {
					delete(p.imports, u.vdi)
				}
			}()
		}
	}
	p.mu.Unlock()
	fmt.Fprintf(b, "HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: no-cache, no-store\r\nTask-Id: %s\r\nContent-Type: application/octet-stream\r\n\r\n", u.task)
	if err := b.Flush(); err != nil {
		return fail("VDI_IO_ERROR", err.Error())
	}
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return internal("%v", err)
	}
	if err := errors.Join(u.store(f, io.LimitReader(b, n), n, size), f.Close()); err != nil {
		var known *failure
		if errors.As(err, &known) {
			return known
		}
		return fail("VDI_IO_ERROR", "Device I/O errors", err.Error())
	}
	return nil
}

// store writes n bytes to a disk of that size.
func (u *upload) store(f *os.File, from io.Reader, n, size int64) error {
	buf, zeros := make([]byte, importChunk), make([]byte, importChunk)
	for at := int64(0); at < n; {
		select {
		case <-u.cancel:
			return fail("TASK_CANCELLED", u.task)
		default:
		}
		b := buf[:min(importChunk, n-at)]
		if _, err := io.ReadFull(from, b); err != nil {
			return err
		}
		if at+int64(len(b)) > size {
			return errTooLarge
		}
		if bytes.Equal(b, zeros[:len(b)]) {
			if err := punch(f, at, int64(len(b))); err != nil {
				return err
			}
		} else if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
		at += int64(len(b))
		u.progress(float64(at) / float64(n))
	}
	return nil
}

// admitUpload lets an import in, or gives the status to refuse it with.
func (p *Pool) admitUpload(r *http.Request, q url.Values) (upload, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	user, password, basic := r.BasicAuth()
	session := q.Get("session_id")
	if basic {
		c := &call{p: p, name: "session.login_with_password", params: []any{user, password, "", ""}}
		v, err := c.login()
		if err != nil {
			return upload{}, http.StatusUnauthorized
		}
		session, _ = v.(string)
		defer delete(p.objects["session"], session)
	}
	if p.objects["session"][session] == nil {
		return upload{}, http.StatusUnauthorized
	}
	if !p.may(&message{role: importRole}, Import) {
		return upload{}, http.StatusForbidden
	}
	u := upload{p: p, task: q.Get("task_id"), vdi: q.Get("vdi")}
	if p.get("task", u.task) == nil {
		u.task = ""
	}
	u.cancel = p.cancels[u.task]
	for ref, o := range p.objects["VDI"] {
		if o["uuid"] == u.vdi {
			u.vdi = ref
		}
	}
	return u, 0
}

// refuse says why an import cannot be.
func (u *upload) refuse(r *http.Request, q url.Values) (status int, err error) {
	u.p.mu.Lock()
	defer u.p.mu.Unlock()
	switch format := q.Get("format"); {
	case u.p.get("VDI", u.vdi) == nil:
		return http.StatusBadRequest, internal("Not enough info supplied to import")
	case format != "" && format != "raw":
		// A pool takes vhd, too.
		return http.StatusNotFound, internal("Unknown format %s", format)
	case q.Has("chunked"):
		return http.StatusNotFound, internal("the lab takes no chunks")
	case len(r.TransferEncoding) > 0:
		return http.StatusNotFound, internal("Cannot handle encoding: %s", strings.Join(r.TransferEncoding, ", "))
	}
	return 0, nil
}

// elsewhere gives where a supporter sends an import to a disk that only the
// coordinator sees.
func (d *door) elsewhere(vdi string, from *url.URL) (string, bool) {
	p := d.p
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.get("VDI", vdi)
	if !d.supporter || o == nil || p.get("SR", o.text("SR")).is("shared") {
		return "", false
	}
	return p.URL() + from.RequestURI(), true
}

func (u *upload) progress(done float64) {
	u.p.mu.Lock()
	defer u.p.mu.Unlock()
	if o := u.p.get("task", u.task); o != nil && o["status"] == "pending" {
		o["progress"] = done
	}
}

// end says in the task what became of the import.
func (u *upload) end(err error) {
	u.p.mu.Lock()
	defer u.p.mu.Unlock()
	if u.task != "" {
		u.p.complete(u.task, u.vdi, err)
	}
}
