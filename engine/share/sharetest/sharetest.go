package sharetest

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"imageport/engine/share"
	"imageport/job"
)

// Harness says what to test.
type Harness struct {
	// Folder is the store's folder as this process sees it.
	Folder string
	// Open opens the store. Nil is share.Dial with Network.
	Open func(ctx context.Context) (share.Store, error)
	// Network says how the store is reached. Nil is a store without a network.
	Network *Network
}

// Network is what share.Dial takes.
type Network struct {
	Location   share.Location
	Credential share.Credential
	Options    share.Options
}

func (n *Network) dial(ctx context.Context) (share.Store, error) {
	return share.Dial(ctx, n.Location, n.Credential, n.Options)
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	if h.Open == nil {
		h.Open = h.Network.dial
	}
	tests := []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"Missing", testMissing},
		{"CreateExcl", testCreateExcl},
		{"Rename", testRename},
		{"ReadOnly", testReadLeavesNoTrace},
		{"BigFile", testBigFile},
		{"ReadAt", testReadAt},
		{"ConcurrentReadAt", testConcurrentReadAt},
		{"Truncated", testTruncated},
		{"List", testList},
		{"Folder", testFolderIsNoFile},
		{"Remove", testRemove},
		{"Free", testFree},
		{"Names", testNames},
		{"Closed", testClosed},
		{"Cancelled", testCancelled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, h) })
	}
	if h.Network != nil {
		runNetwork(t, h)
	}
}

// open opens the store for one test, which starts with an empty folder.
func (h Harness) open(t *testing.T) share.Store {
	t.Helper()
	h.empty(t)
	s, err := h.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

func (h Harness) empty(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(h.Folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(h.path(e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

func (h Harness) path(name string) string { return filepath.Join(h.Folder, name) }

// put makes a file behind the store's back.
func (h Harness) put(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(h.path(name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// get reads a file behind the store's back.
func (h Harness) get(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(h.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// maxNoise is the most that a test uses.
const maxNoise = 40 << 20

var allNoise = sync.OnceValue(func() []byte {
	data := make([]byte, maxNoise)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	return data
})

// noise is n bytes that look random and are the same every time. They are not
// to be changed.
func noise(n int) []byte { return allNoise()[:n:n] }

func wantError(t *testing.T, op string, err error, code job.Code, is error) {
	t.Helper()
	e, ok := errors.AsType[*job.Error](err)
	if !ok || e.Code != code || is != nil && !errors.Is(err, is) {
		t.Errorf("%s: error %q (%s), want code %s and cause %v", op, err, job.CodeOf(err), code, is)
		return
	}
	if e.Remedy == "" {
		t.Errorf("%s: no remedy: %v", op, err)
	}
}

func create(t *testing.T, s share.Store, name string) share.WritableFile {
	t.Helper()
	w, err := s.CreateExcl(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func writeAt(t *testing.T, w io.WriterAt, p []byte, off int64) {
	t.Helper()
	if n, err := w.WriteAt(p, off); n != len(p) || err != nil {
		t.Fatalf("write %d bytes at %d: %d, %v", len(p), off, n, err)
	}
}

func readAll(t *testing.T, f share.File) []byte {
	t.Helper()
	data := make([]byte, f.Size())
	const piece = 1 << 20 // one request: io.ReadAll would begin with small ones
	for off := 0; off < len(data); off += piece {
		p := data[off:min(off+piece, len(data))]
		if n, err := f.ReadAt(p, int64(off)); n != len(p) {
			t.Fatalf("read %d bytes at %d: %d, %v", len(p), off, n, err)
		}
	}
	return data
}

func list(t *testing.T, s share.Store) []string {
	t.Helper()
	infos, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(infos))
	for i, info := range infos {
		names[i] = info.Name
	}
	return names
}
