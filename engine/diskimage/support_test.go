package diskimage_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/overlay"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
	"imageport/engine/diskimage"
	"imageport/engine/share"
)

const mib = 1 << 20

// run runs an external tool; a missing one fails the test.
func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, stderr.Bytes(), out)
	}
	return out
}

// unpack puts images of a container's test data in a directory.
func unpack(t testing.TB, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		data := run(t, "xz", "-dkc", filepath.Join("..", "disk", filepath.Ext(name)[1:], "testdata", name+".xz"))
		write(t, dir, name, data)
	}
}

func write(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func store(t testing.TB, dir string) share.Store {
	t.Helper()
	s, err := share.Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func input(t testing.TB, dir, name string) diskimage.Input {
	t.Helper()
	return diskimage.Input{Folder: diskimage.Local(store(t, dir)), Name: name}
}

func open(t testing.TB, in diskimage.Input) *chain.Chain {
	t.Helper()
	c, err := diskimage.Open(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

var created = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func guid(name string) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceURL, []byte(name)) }

func output(t testing.TB, dir, name string, container chain.Container, typ string) diskimage.Output {
	t.Helper()
	return diskimage.Output{
		Store: store(t, dir), Name: name,
		Format:   diskimage.Format{Container: container, Type: typ},
		Identity: diskimage.Identity{ID: guid(name), Created: created, Creator: "imageport test"},
	}
}

func silent(int64, int64) {}

// names lists a directory.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// buildChain makes base.<ext>, of random data and holes, and two children with
// changes, and gives the name of the last one.
func buildChain(t testing.TB, dir string, container chain.Container, size int64, sector int) string {
	t.Helper()
	ext := string(container)
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data[size/8 : size/2])
	write(t, dir, "base.raw", data)
	raw := input(t, dir, "base.raw")
	raw.Raw = true
	out := output(t, dir, "base."+ext, container, "dynamic")
	if sector == 512 {
		if _, err := diskimage.Convert(t.Context(), open(t, raw), out, silent); err != nil {
			t.Fatal(err)
		}
	} else if _, err := diskimage.Create(t.Context(), out, size, sector); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "base.raw")); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	parent := "base." + ext
	for _, name := range []string{"base.1.a" + ext, "base.2.a" + ext} {
		c := open(t, input(t, dir, parent))
		ov := overlay.New(c)
		for range 20 {
			change := make([]byte, 4096*(1+rng.IntN(20)))
			_, _ = rand.NewChaCha8([32]byte{byte(rng.Uint32())}).Read(change)
			if _, err := ov.WriteAt(change, rng.Int64N((size-int64(len(change)))/4096)*4096); err != nil {
				t.Fatal(err)
			}
		}
		writeChild(t, filepath.Join(dir, name), parent, c, ov)
		parent = name
	}
	return parent
}

func writeChild(t testing.TB, path, parent string, c *chain.Chain, ov *overlay.Overlay) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	layers := c.Layers()
	if top := layers[len(layers)-1]; top.VHDX != nil {
		_, err = vhdx.WriteChild(t.Context(), f, ov, vhdx.ChildOptions{
			Parent: *top.VHDX, ParentRelative: `.\` + parent, BlockSize: mib,
			FileWriteGUID: guid(path + "file"), DataWriteGUID: guid(path),
		}, nil)
	} else {
		_, err = vhd.WriteChild(t.Context(), f, ov, vhd.ChildOptions{
			Parent: *top.VHD, ParentRelative: `.\` + parent, UniqueID: guid(path), Timestamp: created,
		}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// faulty is a store whose operations fail where a test says so.
type faulty struct {
	share.Store
	write  func() error
	rename func(from, to string) error
}

func (f faulty) CreateExcl(ctx context.Context, name string) (share.WritableFile, error) {
	w, err := f.Store.CreateExcl(ctx, name)
	if err != nil || f.write == nil {
		return w, err
	}
	return faultyFile{w, f.write}, nil
}

func (f faulty) Rename(ctx context.Context, from, to string) error {
	if f.rename != nil {
		if err := f.rename(from, to); err != nil {
			return err
		}
	}
	return f.Store.Rename(ctx, from, to)
}

type faultyFile struct {
	share.WritableFile
	write func() error
}

func (f faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.write(); err != nil {
		return 0, err
	}
	return f.WritableFile.WriteAt(p, off)
}
