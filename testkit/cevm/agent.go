package cevm

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cavaliergopher/cpio"
)

// WithAgent gives the image with another program in the place of the agent: a
// static one that is also the first process. It starts without firmware only.
func (i Image) WithAgent(t testing.TB, program string) Image {
	t.Helper()
	init, err := os.ReadFile(program)
	if err != nil {
		t.Fatalf("cevm: %v", err)
	}
	initrd, err := os.ReadFile(i.Initrd)
	if err != nil {
		t.Fatalf("cevm: %v", err)
	}
	// The kernel unpacks one archive after the other, each from a multiple of
	// four bytes on; of two files with one name, the later one stays
	// (Documentation/driver-api/early-userspace/buffer-format.rst).
	all := bytes.NewBuffer(initrd)
	for all.Len()%4 != 0 {
		all.WriteByte(0)
	}
	w := cpio.NewWriter(all)
	if err := w.WriteHeader(&cpio.Header{Name: "init", Mode: cpio.TypeReg | 0o755, Size: int64(len(init)), Links: 1}); err != nil {
		t.Fatalf("cevm: %v", err)
	}
	if _, err := w.Write(init); err != nil {
		t.Fatalf("cevm: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatalf("cevm: %v", err)
	}
	i.UKI, i.Raw, i.Initrd = "", "", filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(i.Initrd, all.Bytes(), 0o600); err != nil {
		t.Fatalf("cevm: %v", err)
	}
	return i
}

var trial struct {
	sync.Mutex
	program []byte
}

// Trial gives the image with a small agent that does what its seed says instead
// of a job: see the package trial.
func Trial(t testing.TB) Image {
	t.Helper()
	image := Appliance(t)
	path := filepath.Join(t.TempDir(), "init")
	trial.Lock()
	defer trial.Unlock()
	if trial.program == nil {
		root, err := moduleRoot(t.Context())
		if err == nil {
			err = compile(t.Context(), root, "./testkit/cevm/trial", path)
		}
		if err != nil {
			t.Fatalf("cevm: %v", err)
		}
		if trial.program, err = os.ReadFile(path); err != nil {
			t.Fatalf("cevm: %v", err)
		}
	} else if err := os.WriteFile(path, trial.program, 0o700); err != nil {
		t.Fatalf("cevm: %v", err)
	}
	return image.WithAgent(t, path)
}
