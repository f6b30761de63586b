package seedsource

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Env is the machine that is asked. System gives the one that runs this.
type Env struct {
	// Sys and Dev are where sysfs and the device nodes are: /sys and /dev.
	Sys, Dev string
	// Metadata is the base URL of the cloud's metadata service, and HTTP the
	// client for it, as NewClient gives one.
	Metadata string
	HTTP     *http.Client
	// Mount makes the files of an optical disc readable.
	Mount func(device string) (Volume, error)
	// GuestInfo asks vSphere for a value. The value is empty if there is none.
	GuestInfo func(key string) (string, error)
}

// Volume is a mounted file system.
type Volume interface {
	fs.FS
	// Close unmounts it.
	io.Closer
}

// NewClient makes a client for a metadata service, which is one hop away: it
// knows no proxies, follows no redirections and keeps no connections.
func NewClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// attempt is how long one request to a metadata service may take.
const attempt = 3 * time.Second

// dmi gives one of the names that the firmware gives the machine, or nothing.
func (e Env) dmi(name string) string {
	b, err := readFile(filepath.Join(e.Sys, "class/dmi/id", name), 4<<10)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// readFile reads a file of at most max bytes.
func readFile(name string, max int) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, max)
}

// readAll reads to the end, which must come within max bytes.
func readAll(r io.Reader, max int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(max)+1))
	if err != nil {
		return nil, err
	}
	if len(b) > max {
		return nil, malformed("more than %d bytes", max)
	}
	return b, nil
}

// because shortens an error for the one line that has to hold them all: the
// source has been named already.
func because(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return fmt.Sprint(err)
}
