package ntfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runTool runs an external tool and fails the test unless it succeeds.
func runTool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// exitCode runs an external tool that speaks by its exit code.
func exitCode(t testing.TB, name string, args ...string) int {
	t.Helper()
	cmd := exec.Command(name, args...)
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatalf("%s: %v", name, err)
	}
	return cmd.ProcessState.ExitCode()
}

// format makes an image file of that many bytes with an empty NTFS volume.
func format(t testing.TB, size int64, args ...string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "volume.img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	runTool(t, "mkntfs", append([]string{"-F", "-Q", "-q", "-L", "Système"}, append(args, image)...)...)
	return image
}

// mounted runs fill with the image mounted by ntfs-3g at root, and returns
// when ntfs-3g has written everything and ended.
func mounted(t testing.TB, image, options string, fill func(root string)) {
	t.Helper()
	root := t.TempDir()
	var before, now syscall.Stat_t
	if err := syscall.Stat(root, &before); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command("ntfs-3g", "-o", "no_detach,big_writes,"+options, image, root)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for now = before; now.Dev == before.Dev; {
		select {
		case err := <-ended:
			t.Fatalf("ntfs-3g: %v\n%s", err, stderr.String())
		case <-time.After(2 * time.Millisecond):
		}
		if err := syscall.Stat(root, &now); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		// A process that another test is just starting holds our open files
		// for a moment, between fork and exec.
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			out, err := exec.Command("umount", root).CombinedOutput()
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("umount %s: %v\n%s", root, err, out)
			}
		}
		if err := <-ended; err != nil {
			t.Fatalf("ntfs-3g: %v\n%s", err, stderr.String())
		}
	}()
	fill(root)
}

// tree is what was written to a volume: contents by path, with / between the
// components; a directory ends in / and has none.
type tree map[string][]byte

func (w tree) write(t testing.TB, root string) {
	t.Helper()
	for path, content := range w {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, "/") {
			if err := os.MkdirAll(full, 0o755); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(full, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// random is incompressible content, always the same for one seed.
func random(seed, n int) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(int64(seed))).Read(b)
	return b
}

// text is compressible content with some incompressible and some empty parts.
func text(seed, n int) []byte {
	var b bytes.Buffer
	r := rand.New(rand.NewSource(int64(seed)))
	for b.Len() < n {
		switch r.Intn(12) {
		case 0:
			b.Write(random(r.Int(), r.Intn(80<<10)))
		case 1:
			b.Write(make([]byte, r.Intn(200<<10)))
		default:
			for range r.Intn(1000) {
				fmt.Fprintf(&b, "%d boot configuration data %x\r\n", r.Intn(50), r.Intn(5))
			}
		}
	}
	return b.Bytes()[:n]
}

// readImage opens the volume in an image file that is not mounted. The bytes
// may be changed: the file is not.
func readImage(t testing.TB, image string) (*Volume, []byte) {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(b); err != nil {
			t.Error(err)
		}
	})
	return open(t, b), b
}

func open(t testing.TB, b []byte) *Volume {
	t.Helper()
	v, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// walk lists a whole volume, with / between the components of paths.
func walk(v *Volume, visit func(path string, e Entry) error) error {
	var into func(dir string) error
	into = func(dir string) error {
		list, err := v.ReadDir("/" + dir)
		if err != nil {
			return err
		}
		for _, e := range list {
			path := dir + e.Name
			if err := visit(path, e); err != nil {
				return err
			}
			if e.IsDir && e.ReparseTag == 0 {
				if err := into(path + "/"); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return into("")
}

// check compares everything on a volume with what was written to it.
func (w tree) check(t *testing.T, v *Volume, image []byte) {
	t.Helper()
	left := make(map[string]bool)
	for path := range w {
		for dir := path; dir != "."; dir = filepath.Dir(dir) {
			left[strings.TrimSuffix(dir, "/")] = true
		}
	}
	err := walk(v, func(path string, e Entry) error {
		if !left[path] {
			t.Errorf("%s: listed, but not written, or listed twice", path)
		}
		delete(left, path)
		if stat, err := v.Stat(path); err != nil || stat != e {
			t.Errorf("%s: Stat gives %+v, %v; ReadDir gives %+v", path, stat, err, e)
		}
		content, isFile := w[path]
		if isFile == e.IsDir {
			t.Errorf("%s: IsDir = %v", path, e.IsDir)
		}
		if isFile {
			checkFile(t, v, image, path, content)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path := range left {
		t.Errorf("%s: written, but not listed", path)
	}
}

// checkFile reads a file in one go, in pieces that do not match clusters, and
// by its extents straight from the image.
func checkFile(t *testing.T, v *Volume, image []byte, path string, content []byte) {
	t.Helper()
	f, err := v.Open(strings.ReplaceAll(path, "/", `\`))
	if err != nil {
		t.Error(err)
		return
	}
	if f.Size() != int64(len(content)) {
		t.Errorf("%s: %d bytes, want %d", path, f.Size(), len(content))
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()+1))
	if err != nil || sha256.Sum256(got) != sha256.Sum256(content) {
		t.Errorf("%s: contents differ at byte %d of %d (%v)", path, firstDifference(got, content), len(content), err)
	}
	if all, err := f.ReadAll(f.Size()); err != nil || !bytes.Equal(all, content) {
		t.Errorf("%s: ReadAll gives %d bytes, %v", path, len(all), err)
	}
	if _, err := f.ReadAll(f.Size() - 1); !errors.Is(err, ErrUnsupported) {
		t.Errorf("%s: ReadAll reads more than it may: %v", path, err)
	}
	for off := 0; off < len(content); off += 99_991 {
		piece := make([]byte, 7777)
		n, err := f.ReadAt(piece, int64(off))
		if want := content[off:min(off+len(piece), len(content))]; !bytes.Equal(piece[:n], want) || (n < len(piece)) != (err == io.EOF) {
			t.Errorf("%s: %d bytes at %d: read %d, %v", path, len(piece), off, n, err)
		}
	}
	extents, err := f.Extents()
	if err != nil {
		if f.Resident() || f.Compressed() || f.Sparse() {
			return
		}
		t.Error(err)
		return
	}
	var raw []byte
	for _, e := range extents {
		if e.FileOffset != int64(len(raw)) {
			t.Errorf("%s: an extent at %d, want %d", path, e.FileOffset, len(raw))
		}
		raw = append(raw, image[e.VolumeOffset:e.VolumeOffset+e.Length]...)
	}
	if !bytes.Equal(raw, content) {
		t.Errorf("%s: the image at the extents differs", path)
	}
}

func firstDifference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// editRecord changes an MFT record of an image, as a Windows driver would:
// below the fixups.
func editRecord(t testing.TB, image []byte, number uint64, edit func(b []byte)) {
	t.Helper()
	v := open(t, image)
	pos := int64(number) * v.recordSize
	run := v.mft.runs[v.mft.runs.find(pos/v.clusterSize)]
	at := run.lcn*v.clusterSize + pos - run.vcn*v.clusterSize
	editProtected(t, image[at:at+v.recordSize], edit)
}

func editProtected(t testing.TB, b []byte, edit func(b []byte)) {
	t.Helper()
	if err := undoFixups(b); err != nil {
		t.Fatal(err)
	}
	edit(b)
	offset := int(binary.LittleEndian.Uint16(b[4:]))
	for i := 1; i <= len(b)/stride; i++ {
		copy(b[offset+2*i:], b[i*stride-2:i*stride])
		copy(b[i*stride-2:i*stride], b[offset:offset+2])
	}
}

// rawAttribute is the attribute of a type in the bytes of a record.
func rawAttribute(t testing.TB, b []byte, typ uint32) []byte {
	t.Helper()
	for at := int(binary.LittleEndian.Uint16(b[0x14:])); ; {
		got, length := binary.LittleEndian.Uint32(b[at:]), int(binary.LittleEndian.Uint32(b[at+4:]))
		if got == typ {
			return b[at : at+length]
		}
		if got == typeEnd {
			t.Fatalf("the record has no %s", typeName(typ))
		}
		at += length
	}
}
