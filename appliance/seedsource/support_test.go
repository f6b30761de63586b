package seedsource

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"imageport/job/seed"
)

// raw is a seed. Nothing here looks into one; "t0ken" must never be said.
const raw = `{"name":"ce-0123456789ab","gateway":{"token":"t0ken"}}`

var tooBig = strings.Repeat("t0ken ", seed.MaxBytes/6+1)

// machine is an Env over a tree of files below a folder of the test's own.
type machine struct {
	Env
	t    *testing.T
	root string
	mu   sync.Mutex
	// discs are what is in the drives, by device.
	discs map[string]fs.FS
	// mounted counts the discs that are not unmounted.
	mounted int
}

func newMachine(t *testing.T, vendor, product string) *machine {
	root := t.TempDir()
	m := &machine{t: t, root: root, discs: map[string]fs.FS{}}
	m.Env = Env{
		Sys: filepath.Join(root, "sys"), Dev: filepath.Join(root, "dev"),
		Metadata: "http://metadata.invalid",
		HTTP:     &http.Client{Transport: handled(func(http.ResponseWriter, *http.Request) { t.Error("the network is asked") })},
		Mount:    m.mount,
		GuestInfo: func(key string) (string, error) {
			t.Errorf("guestinfo is asked for %s", key)
			return "", nil
		},
	}
	m.file("sys/class/dmi/id/sys_vendor", vendor+"\n")
	m.file("sys/class/dmi/id/product_name", product+"\n")
	t.Cleanup(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.mounted != 0 {
			t.Errorf("%d discs are still mounted", m.mounted)
		}
	})
	return m
}

func (m *machine) file(name, content string) {
	m.t.Helper()
	name = filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// disc adds a drive with the files, names and contents in turn. A drive without
// any has no disc.
func (m *machine) disc(drive string, files ...string) {
	m.file("sys/class/block/"+drive+"/size", "256\n")
	if len(files) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	disc := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		disc[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	m.discs[filepath.Join(m.Dev, drive)] = disc
}

func (m *machine) mount(device string) (Volume, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	disc := m.discs[device]
	if disc == nil {
		return nil, errors.New("no disc in the drive")
	}
	m.mounted++
	return mounted{disc, m}, nil
}

type mounted struct {
	fs.FS
	m *machine
}

func (v mounted) Close() error {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	v.m.mounted--
	return nil
}

// handled is a network on which a handler answers, without a server: time may
// be the test's own.
type handled http.HandlerFunc

func (h handled) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	done := make(chan *http.Response, 1)
	go func() {
		w := httptest.NewRecorder()
		h(w, r)
		done <- w.Result()
	}()
	select {
	case response := <-done:
		return response, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}
