package xapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// receive answers an import as XAPI does: before it has read anything.
func receive(t testing.TB, got *bytes.Buffer, done func(error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength < 0 || len(r.TransferEncoding) > 0 || r.Header.Get("Expect") != "" {
			t.Errorf("length %d, encoding %q, expect %q", r.ContentLength, r.TransferEncoding, r.Header.Get("Expect"))
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
		rw.Flush()
		got.Reset()
		_, err = io.CopyN(got, bufio.NewReader(rw), r.ContentLength)
		done(err)
	}
}

// importer is a server that takes imports, with a task that says how it went.
func importer(t testing.TB, got *bytes.Buffer) (s *server, status func(string, ...string)) {
	s = newServer(t)
	record := map[string]any{"status": "pending"}
	status = func(status string, info ...string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		record = map[string]any{"status": status, "error_info": info}
	}
	s.handle("task.create", func([]any) (any, *Error) {
		record = map[string]any{"status": "pending"}
		return "OpaqueRef:task", nil
	})
	s.handle("task.get_record", func([]any) (any, *Error) { return record, nil })
	s.put = receive(t, got, func(err error) {
		time.Sleep(5 * time.Millisecond)
		if err != nil {
			status("failure", "VDI_IO_ERROR", err.Error())
			return
		}
		status("success")
	})
	return s, status
}

var disk = bytes.Repeat([]byte("disk"), 1<<20)

func TestImportRaw(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	s, status := importer(t, &got)
	c := s.client(t, nil)
	store := s.put
	var query url.Values
	s.put = func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.Query()
		store(w, r)
	}
	if err := c.ImportRaw(t.Context(), "OpaqueRef:vdi", bytes.NewReader(disk), int64(len(disk))); err != nil || !bytes.Equal(got.Bytes(), disk) {
		t.Errorf("%d bytes of %d arrived: %v", got.Len(), len(disk), err)
	}
	if query.Get("vdi") != "OpaqueRef:vdi" || query.Get("format") != "raw" || query.Get("task_id") != "OpaqueRef:task" || query.Get("session_id") != "OpaqueRef:session-1" {
		t.Errorf("sent with %v", query)
	}

	// What the task says counts, not the 200.
	s.put = receive(t, &got, func(error) { status("failure", "VDI_IO_ERROR", "full") })
	if err := c.ImportRaw(t.Context(), "OpaqueRef:vdi", bytes.NewReader(disk), int64(len(disk))); CodeOf(err) != "VDI_IO_ERROR" {
		t.Errorf("the task failed: %v", err)
	}

	// A connection that ends roughly when all was sent is no failure.
	s.put = func(w http.ResponseWriter, r *http.Request) {
		receive(t, &got, func(error) { status("success") })(w, r)
	}
	broken := s.client(t, func(cfg *Config) {
		cfg.Wrap = func(inner http.RoundTripper) http.RoundTripper {
			return roundTripper(func(req *http.Request) (*http.Response, error) {
				res, err := inner.RoundTrip(req)
				if err == nil && req.Method == http.MethodPut {
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
					return nil, io.ErrUnexpectedEOF
				}
				return res, err
			})
		}
	})
	if err := broken.ImportRaw(t.Context(), "OpaqueRef:vdi", bytes.NewReader(disk), int64(len(disk))); err != nil {
		t.Errorf("a rough end: %v", err)
	}

	// What is refused is not sent, and said by the task or by the status.
	s.put = func(w http.ResponseWriter, _ *http.Request) {
		status("failure", "HANDLE_INVALID", "VDI", "x")
		w.WriteHeader(http.StatusBadRequest)
	}
	if err := c.ImportRaw(t.Context(), "OpaqueRef:vdi", bytes.NewReader(disk), int64(len(disk))); CodeOf(err) != "HANDLE_INVALID" {
		t.Errorf("refused with a reason: %v", err)
	}
	s.put = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
	err := c.ImportRaw(t.Context(), "OpaqueRef:vdi", bytes.NewReader(disk), int64(len(disk)))
	if e, ok := errors.AsType[*StatusError](err); !ok || e.Status != http.StatusForbidden || s.called("task.cancel") != 1 {
		t.Errorf("refused: %v", err)
	}

	// It does not say anything at first.
	s.put = func(w http.ResponseWriter, r *http.Request) {
		got.Reset()
		_, _ = io.Copy(&got, r.Body)
		status("success")
	}
	if err := c.ImportRaw(t.Context(), "OpaqueRef:vdi", bytes.NewReader(disk), int64(len(disk))); err != nil || !bytes.Equal(got.Bytes(), disk) {
		t.Errorf("a silent host: %d bytes, %v", got.Len(), err)
	}
}

// A session that is lost before the bytes are sent is made anew, and they are sent again.
func TestImportSessionLost(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	s, _ := importer(t, &got)
	c := s.client(t, nil)
	store, lost := s.put, false
	s.put = func(w http.ResponseWriter, r *http.Request) {
		if !lost {
			lost = true
			s.forget()
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		store(w, r)
	}
	if err := c.ImportRaw(t.Context(), "OpaqueRef:vdi", bytes.NewReader(disk), int64(len(disk))); err != nil || !bytes.Equal(got.Bytes(), disk) {
		t.Errorf("%d bytes: %v", got.Len(), err)
	}
}

// A host may send the bytes to another one, with all that was asked, and not anywhere.
func TestImportElsewhere(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	s, status := importer(t, &got)
	other := newServer(t)
	other.put = receive(t, &got, func(err error) {
		if err != nil {
			t.Error(err)
		}
		status("success")
	})
	c := s.client(t, nil)
	for what, tc := range map[string]struct {
		to string // %s is the query
		in string
	}{
		"another host":   {"https://" + other.Listener.Addr().String() + importPath + "?%s", ""},
		"without TLS":    {"http://" + other.Listener.Addr().String() + importPath + "?%s", "sent to http://"},
		"another path":   {"https://" + other.Listener.Addr().String() + "/x?%s", "/x"},
		"in a circle":    {"https://" + s.Listener.Addr().String() + importPath + "?%s", "elsewhere 3 times"},
		"nowhere":        {"", "not told where"},
		"what is no URL": {"https://[::1%%25" + "/", "not told where"},
	} {
		got.Reset()
		s.put = func(w http.ResponseWriter, r *http.Request) {
			if tc.to != "" {
				w.Header().Set("Location", strings.Replace(tc.to, "%s", r.URL.RawQuery, 1))
			}
			w.WriteHeader(http.StatusFound)
		}
		err := c.ImportRaw(t.Context(), "OpaqueRef:vdi", bytes.NewReader(disk), int64(len(disk)))
		if (err == nil) != (tc.in == "") || err != nil && (!strings.Contains(err.Error(), tc.in) || strings.Contains(err.Error(), "session_id")) {
			t.Errorf("%s: %v, want %q", what, err, tc.in)
		}
		if (tc.in == "") != bytes.Equal(got.Bytes(), disk) {
			t.Errorf("%s: %d bytes arrived", what, got.Len())
		}
	}
}

// An import ends with its context, wherever it is.
func TestImportCancelled(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	s, _ := importer(t, &got)
	c := s.client(t, nil)
	for what, put := range map[string]http.HandlerFunc{
		"no answer": func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err == nil {
				<-r.Context().Done()
			}
		},
		"never done": receive(t, &got, func(error) {}),
		"reads nothing": func(w http.ResponseWriter, _ *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err == nil {
				fmt.Fprint(rw, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
				rw.Flush()
				time.Sleep(300 * time.Millisecond)
				conn.Close()
			}
		},
	} {
		s.put = put
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		began := time.Now()
		err := c.ImportRaw(ctx, "OpaqueRef:vdi", bytes.NewReader(disk), int64(len(disk)))
		stop()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
			t.Errorf("%s: %v after %v", what, err, time.Since(began))
		}
	}
	if _, err := c.connect(t.Context(), 0); err != nil {
		t.Error(err)
	}
}

// broken is a connection that takes a header, and breaks while it takes more; what
// the server says comes only then.
type broken struct {
	net.Conn
	said   io.Reader
	writes int
	breaks chan struct{}
}

func (b *broken) Write(p []byte) (int, error) {
	if b.writes++; b.writes == 1 {
		return len(p), nil
	}
	defer close(b.breaks)
	return 0, io.ErrClosedPipe
}

func (b *broken) Read(p []byte) (int, error) {
	<-b.breaks
	return b.said.Read(p)
}

// A pool that says OK to the header has not got what could not be sent; what it says
// against it counts.
func TestSendBreaks(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]int{"200 OK": 0, "403 Forbidden": 403} {
		conn := &broken{said: strings.NewReader("HTTP/1.1 " + said + "\r\nConnection: close\r\n\r\n"), breaks: make(chan struct{})}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://pool/import_raw_vdi", strings.NewReader("disk"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := exchange(conn, req)
		if want == 0 && !errors.Is(err, io.ErrClosedPipe) || want != 0 && (err != nil || res.StatusCode != want) {
			t.Errorf("%s: %+v, %v", said, res, err)
		}
	}
}
