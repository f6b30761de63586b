package share_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"imageport/engine/copyfile"
	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
	"imageport/engine/share"
	"imageport/job"
	"imageport/testkit/proxy"
	"imageport/testkit/samba"
)

// disk makes a VHDX of that much noise in a directory, with holes between, and
// gives the bytes of the disk.
func disk(t *testing.T, dir string, size int) []byte {
	t.Helper()
	data := make([]byte, size)
	noise := rand.NewChaCha8([32]byte{3})
	for at := 0; at < size; at += 16 << 20 {
		_, _ = noise.Read(data[at:min(at+13<<20, size)])
	}
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(raw, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", "subformat=dynamic,block_size=1M", raw, filepath.Join(dir, "disk.vhdx"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v: %s", err, out)
	}
	return data
}

// cached is a file behind the cache that a chain has.
type cached struct {
	share.File
	cache io.ReaderAt
}

func (f cached) ReadAt(p []byte, off int64) (int, error) { return f.cache.ReadAt(p, off) }

// openDisk opens the VHDX of a server for one test.
func openDisk(t *testing.T, s *samba.Server, port int) *chain.Chain {
	t.Helper()
	n := network(s, "", "")
	n.Location.Port = port
	store, err := share.Dial(t.Context(), n.Location, n.Credential, n.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	folder := chain.FolderOf(func(ctx context.Context, name string) (cached, error) {
		f, err := store.Open(ctx, name)
		if err != nil {
			return cached{}, err
		}
		return cached{f, share.Buffered(f, 64<<10, 32)}, nil
	})
	c, err := chain.Open(t.Context(), folder, "disk.vhdx", chain.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// copyDisk copies a disk to a file, whose path it gives.
func copyDisk(t *testing.T, c *chain.Chain, opt copier.Options) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy")
	dst, err := copyfile.Create(path, c.Size())
	if err != nil {
		t.Fatal(err)
	}
	opt.TargetIsZero = true
	_, err = copier.Copy(t.Context(), dst, c, opt)
	return path, errors.Join(err, dst.Close())
}

// after runs each step once, when so many parts of a copy are done: the first
// after one of n+1 parts.
func after(steps ...func()) func(copier.Progress) {
	once := make([]sync.Once, len(steps))
	return func(p copier.Progress) {
		for i, step := range steps {
			if p.DoneBytes > int64(i+1)*p.TotalBytes/int64(len(steps)+1) {
				once[i].Do(step)
			}
		}
	}
}

// TestConvertThroughFailures: under the copy of a disk the server's processes
// are killed, the TCP connections are cut, and the server is away for a while.
func TestConvertThroughFailures(t *testing.T) {
	for name, opt := range map[string]samba.Options{"plain": {}, "encrypted": {Encrypt: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := samba.New(t, opt)
			want := disk(t, s.Shares[samba.DefaultShare], 48<<20)
			p := proxy.New(t, s.Addr())
			back := make(chan error, 1)
			connections := 0
			c := openDisk(t, s, p.Port())
			path, err := copyDisk(t, c, copier.Options{UnitSize: 256 << 10, Progress: after(
				func() {
					if n, err := s.KillConnections(t.Context()); n == 0 || err != nil {
						t.Errorf("killed %d processes, %v", n, err)
					}
				},
				func() { connections = p.Connections(); p.Cut() },
				func() {
					s.Down()
					time.AfterFunc(300*time.Millisecond, func() { back <- s.Up(t.Context()) })
				},
			)})
			if err != nil {
				t.Fatal(err)
			}
			if err := <-back; err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("the copy has the right bytes: %v, %v", bytes.Equal(got, want), err)
			}
			if connections < 2 || p.Connections() <= connections {
				t.Errorf("%d connections before the cut, %d at the end: nothing was lost", connections, p.Connections())
			}
			if err := c.Unchanged(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestConvertReplaced: another image takes the name under a copy whose
// connections are lost.
func TestConvertReplaced(t *testing.T) {
	t.Parallel()
	s := samba.New(t)
	dir := s.Shares[samba.DefaultShare]
	disk(t, dir, 48<<20)
	c := openDisk(t, s, s.Port)
	_, err := copyDisk(t, c, copier.Options{Progress: after(func() {
		other := filepath.Join(dir, "other")
		same, err := os.ReadFile(filepath.Join(dir, "disk.vhdx"))
		if err := errors.Join(err, os.WriteFile(other, same, 0o600), os.Rename(other, filepath.Join(dir, "disk.vhdx"))); err != nil {
			t.Error(err)
		}
		if n, err := s.KillConnections(t.Context()); n == 0 || err != nil {
			t.Errorf("killed %d processes, %v", n, err)
		}
	})})
	wantCode(t, "copy", err, job.SourceChanged, "disk.vhdx")
}

// TestMemoryOfCopy: the heap of a copy with as many readers as there may be,
// over connections that encrypt. The goal for a whole process is 256 MiB.
func TestMemoryOfCopy(t *testing.T) {
	s := samba.New(t, samba.Options{Encrypt: true})
	want := disk(t, s.Shares[samba.DefaultShare], 128<<20)
	for _, x := range []struct {
		readers int
		limit   uint64 // MiB
	}{{copier.DefaultParallel, 64}, {copier.MaxBuffers / copier.DefaultUnitSize, 192}} {
		c := openDisk(t, s, s.Port)
		runtime.GC()
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		var peak uint64
		path, err := copyDisk(t, c, copier.Options{Parallel: x.readers, Progress: func(copier.Progress) {
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapInuse+now.StackInuse)
		}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("the copy has the right bytes: %v, %v", bytes.Equal(got, want), err)
		}
		// What the test itself holds does not count.
		taken := (peak - min(peak, before.HeapInuse+before.StackInuse)) >> 20
		t.Logf("%d readers: %d MiB", x.readers, taken)
		if taken > x.limit {
			t.Errorf("a copy with %d readers takes %d MiB, want at most %d", x.readers, taken, x.limit)
		}
	}
}
