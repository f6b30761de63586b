package ntfs

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
)

// counting counts what a volume costs its reader.
type counting struct {
	io.ReaderAt
	reads, bytes atomic.Int64
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.reads.Add(1)
	c.bytes.Add(int64(len(p)))
	return c.ReaderAt.ReadAt(p, off)
}

// TestReads bounds the number of reads, each of which may be a round trip to
// a file server.
func TestReads(t *testing.T) {
	t.Parallel()
	w := tree{}
	var total int64
	for i := range 150 {
		n := 20_000 + i*2500
		w[fmt.Sprintf("Windows/Boot/EFI/%02d-XX/bootmgfw%d.efi.mui", i/4, i)] = random(i, n)
		total += int64(n)
	}
	for i := range 400 {
		w[fmt.Sprintf("Windows/System32/driver number %d.sys", i)] = []byte("x")
	}
	path := format(t, 64<<20)
	mounted(t, path, "", func(root string) { w.write(t, root) })
	_, image := readImage(t, path)
	r := &counting{ReaderAt: bytes.NewReader(image)}
	step := func(what string, limit int64, do func()) {
		before, bytesBefore := r.reads.Load(), r.bytes.Load()
		do()
		n := r.reads.Load() - before
		t.Logf("%s: %d reads, %d bytes", what, n, r.bytes.Load()-bytesBefore)
		if n > limit {
			t.Errorf("%s: %d reads, want at most %d", what, n, limit)
		}
	}
	var v *Volume
	step("open", 8, func() {
		var err error
		if v, err = Open(r, int64(len(image))); err != nil {
			t.Fatal(err)
		}
	})
	const file = `\Windows\Boot\EFI\07-xx\BOOTMGFW30.efi.mui`
	step("look a file up", 14, func() {
		if _, err := v.Stat(file); err != nil {
			t.Fatal(err)
		}
	})
	step("open the same", 0, func() {
		if _, err := v.Open(file); err != nil {
			t.Fatal(err)
		}
	})
	step("list 400 files", 40, func() {
		if list, err := v.ReadDir(`\Windows\System32`); err != nil || len(list) != 400 {
			t.Fatal(len(list), err)
		}
	})
	step("walk 150 files and read them", 600, func() {
		var got int64
		err := walk(v, func(path string, e Entry) error {
			f, err := v.Open(path)
			if err != nil || len(path) < len("Windows/Boot/EFI") || path[:12] != "Windows/Boot" {
				return nil
			}
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.NewSectionReader(f, 0, f.Size()), make([]byte, 256<<10))
			got += n
			return err
		})
		if err != nil || got != total {
			t.Fatal(got, total, err)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	v := open(t, unpack(t, featuresVolume))
	packed, err := v.Open("packed/text")
	if err != nil {
		t.Fatal(err)
	}
	want := text(1, 40_000)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			got := make([]byte, 1000)
			for off := i * 100; off < len(want)-len(got); off += 3777 {
				if _, err := packed.ReadAt(got, int64(off)); err != nil || !bytes.Equal(got, want[off:off+len(got)]) {
					t.Errorf("at %d: %v", off, err)
				}
			}
			if list, err := v.ReadDir("directory"); err != nil || len(list) != 120 {
				t.Errorf("%d entries, %v", len(list), err)
			}
		})
	}
	group.Wait()
}
