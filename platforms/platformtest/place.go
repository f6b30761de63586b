package platformtest

import (
	"context"
	"errors"
	"flag"
	"os"
	"sync"
	"testing"

	"imageport/job"
	"imageport/platforms"
)

// RunOn is Run on one real platform for all cases, one after another, if the
// environment variable is set, and on a simulated one for each case if not.
func RunOn[R, S Harness](t *testing.T, variable string, real func(*testing.T) R, simulated func(testing.TB) S) {
	if os.Getenv(variable) == "" {
		Run(t, func(t *testing.T) Harness { return simulated(t) })
		return
	}
	if p := flag.Lookup("test.parallel").Value.String(); p != "1" {
		t.Fatalf("there is one platform for all cases: run with -parallel 1, not %s", p)
	}
	h := real(t)
	Run(t, func(*testing.T) Harness { return h })
}

// Platform is what a worker has of a platform.
type Platform interface {
	Open(ctx context.Context, where job.Target) (platforms.Driver, error)
	Close(ctx context.Context) error
}

// Opened gives the driver of a platform that was just made, which is closed when the
// test ends.
func Opened[D platforms.Driver](t testing.TB, p Platform, err error, where job.Target) D {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil && !errors.Is(err, ErrDead) {
			t.Errorf("Close: %v", err)
		}
	})
	d, err := p.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	return d.(D)
}

// Names are those of what a Harness has planted.
type Names struct {
	mu  sync.Mutex
	all map[string]bool
}

// Add adds a name.
func (n *Names) Add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all == nil {
		n.all = make(map[string]bool)
	}
	n.all[name] = true
}

// Has reports whether the name was added.
func (n *Names) Has(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all[name]
}

// EveryKind gives a disk for each format and way to provision, made from the 10th of a
// harness's on.
func EveryKind(disk func(n int) platforms.OutputDisk) []platforms.OutputDisk {
	var all []platforms.OutputDisk
	for _, change := range []platforms.OutputDisk{
		{Format: platforms.VMDK}, {Format: platforms.Raw}, {Format: platforms.VHDX},
		{Provision: job.ProvisionThin}, {Provision: job.ProvisionThick}, {Provision: job.ProvisionEagerZeroed},
	} {
		o := disk(10 + len(all))
		o.Format, o.Provision = change.Format, change.Provision
		all = append(all, o)
	}
	return all
}

// WriteFile writes to the file of a disk.
func WriteFile(t testing.TB, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		defer f.Close()
		_, err = f.WriteAt(b, at)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ReadFile reads n bytes of the file of a disk.
func ReadFile(t testing.TB, path string, at int64, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return b
}
