package ntfsresize_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/disk/overlay"
	"imageport/engine/windows/ntfs"
	"imageport/testkit/winimage/ntfs3g"
)

// image is a file with a volume, as a disk.
type image struct {
	*os.File
	size int64
}

func (i image) Size() int64     { return i.size }
func (i image) SectorSize() int { return 512 }

func openImage(t testing.TB, path string) image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return image{f, info.Size()}
}

// tool runs an external validator, which must succeed, and gives its words.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// content differs for every name.
func content(name string, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(b)
	return b
}

// format makes a file of size bytes with an empty volume.
func format(t testing.TB, size int64, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "volume.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkntfs", append(append([]string{"-F", "-Q", "-q", "-L", "Windows", "-p", "2048", "-H", "255", "-S", "63"}, args...), path)...)
	return path
}

// makeVolume formats a file of size bytes and fills it: what is new lies before
// from or behind to, which are bytes, although the rest is free.
func makeVolume(t testing.TB, size, from, to int64, args ...string) string {
	t.Helper()
	path := format(t, size, args...)
	occupied(t, path, from, to, func() { mounted(t, path, func(root string) { fill(t, root, int(size)) }) })
	return path
}

// occupied runs fill while the free clusters between two offsets are not free,
// as $Bitmap says.
func occupied(t testing.TB, path string, from, to int64, fill func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	v, err := ntfs.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	bitmap, err := v.Open(`\$Bitmap`)
	if err != nil {
		t.Fatal(err)
	}
	extents, err := bitmap.Extents()
	if err != nil || len(extents) != 1 {
		t.Fatalf("$Bitmap: %v, %v", extents, err)
	}
	perByte := int64(8 * v.State().ClusterSize)
	at := extents[0].VolumeOffset + from/perByte
	before := make([]byte, (to-from)/perByte)
	if _, err := f.ReadAt(before, at); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xff}, len(before)), at); err != nil {
		t.Fatal(err)
	}
	fill()
	if _, err := f.WriteAt(before, at); err != nil {
		t.Fatal(err)
	}
}

// fill writes a twelfth of a volume of that size: pieces of some files that take
// turns in growing, many small files with gaps between them, and a large one.
func fill(t testing.TB, root string, size int) {
	t.Helper()
	users := filepath.Join(root, "Users")
	if err := os.Mkdir(users, 0o755); err != nil {
		t.Fatal(err)
	}
	grow(t, users, 6, 10, size/2000)
	small := func(i int) string { return filepath.Join(users, fmt.Sprintf("a file of no great size %d.txt", i)) }
	for i := range 300 {
		if err := os.WriteFile(small(i), content(small(i), i*60), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(users, "large.bin"), content("large", size/20), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 300; i += 3 {
		if err := os.Remove(small(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// grow writes files in pieces of some bytes, one of each file at a time.
func grow(t testing.TB, dir string, files, pieces, bytes int) {
	t.Helper()
	var open []*os.File
	for i := range files {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("grown %d.dat", i)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		open = append(open, f)
	}
	for i := range pieces {
		for _, f := range open {
			if _, err := f.Write(content(fmt.Sprint(filepath.Base(f.Name()), i), bytes)); err != nil {
				t.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func mounted(t testing.TB, path string, use func(root string)) {
	t.Helper()
	v, err := ntfs3g.Mount(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := v.Unmount(); err != nil {
			t.Fatal(err)
		}
	}()
	use(v.Dir)
}

// listing is size, time and hash by path.
type listing map[string]string

func line(size int64, when string, hash []byte) string {
	return fmt.Sprintf("%d bytes of %s, %x", size, when, hash)
}

// byUs lists a volume as package ntfs sees it.
func byUs(t testing.TB, r io.ReaderAt, size int64) listing {
	t.Helper()
	v, err := ntfs.Open(r, size)
	if err != nil {
		t.Fatal(err)
	}
	all := listing{}
	var into func(dir string)
	into = func(dir string) {
		entries, err := v.ReadDir("/" + dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			path := dir + e.Name
			if e.IsDir {
				all[path] = line(0, e.ModTime.String(), nil)
				into(path + "/")
				continue
			}
			f, err := v.Open("/" + path)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.New()
			if _, err := io.Copy(sum, io.NewSectionReader(f, 0, f.Size())); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			all[path] = line(f.Size(), e.ModTime.String(), sum.Sum(nil))
		}
	}
	into("")
	return all
}

// byNTFS3G lists a volume as ntfs-3g sees it.
func byNTFS3G(t testing.TB, path string) listing {
	t.Helper()
	all := listing{}
	mounted(t, path, func(root string) {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == root {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			when := info.ModTime().UTC().String()
			if d.IsDir() {
				all[path[len(root)+1:]] = line(0, when, nil)
				return nil
			}
			var b []byte
			if d.Type().IsRegular() { // a symbolic link has no data
				b, err = os.ReadFile(path)
			}
			sum := sha256.Sum256(b)
			all[path[len(root)+1:]] = line(int64(len(b)), when, sum[:])
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	return all
}

// saved writes the first n bytes of a disk to a new file, without its zeros.
func saved(t testing.TB, r io.ReaderAt, n int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "saved.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(n); err != nil {
		t.Fatal(err)
	}
	b, zeros := make([]byte, 256<<10), make([]byte, 256<<10)
	for at := int64(0); at < n; at += int64(len(b)) {
		piece := b[:min(int64(len(b)), n-at)]
		if _, err := r.ReadAt(piece, at); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if bytes.Equal(piece, zeros[:len(piece)]) {
			continue
		}
		if _, err := f.WriteAt(piece, at); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// pagesHash is of all changes of an overlay.
func pagesHash(o *overlay.Overlay) string {
	sum := sha256.New()
	for p := range o.Pages() {
		fmt.Fprintf(sum, "%d:%d:", p.Offset, len(p.Data))
		sum.Write(p.Data)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}
