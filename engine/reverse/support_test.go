package reverse

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/engine/windows/nativeboot"
	"imageport/job"
)

// virtual is the size of the disk in the tests: no whole MiB.
const virtual = 41*mib + 3584

// site is a folder with a chain of three files in it, and what they hold.
type site struct {
	dir     string
	store   share.Store
	task    Task
	content []byte      // of the chain
	image   io.ReaderAt // the same
}

// newSite makes base, base.1 and base.2 of the container, of random data, zeros
// that are stored, and holes.
func newSite(t *testing.T, container chain.Container) *site {
	t.Helper()
	return newSiteIn(t, t.TempDir(), container)
}

func newSiteIn(t *testing.T, dir string, container chain.Container) *site {
	t.Helper()
	s := &site{dir: dir, content: make([]byte, virtual)}
	var err error
	if s.store, err = share.Dir(s.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	rng := rand.NewChaCha8([32]byte{7})
	random := func(off, n int) { _, _ = rng.Read(s.content[off : off+n]) }
	random(0, 3*mib)
	random(20*mib, 8*mib)
	random(virtual-512, 512)
	ext := string(container)
	s.add(t, container, "base."+ext, "")
	random(2*mib+4096, 100<<10)
	random(12*mib, 2*mib)
	clear(s.content[21*mib : 22*mib])
	s.add(t, container, "base.1.a"+ext, "base."+ext)
	random(13*mib, 4*mib)
	s.add(t, container, "base.2.a"+ext, "base.1.a"+ext)
	s.image = bytes.NewReader(s.content)
	format := job.FormatVHDX
	if container == chain.VHD {
		format = job.FormatVHD
	}
	s.task = Task{Job: "ips/h/disks/base", Key: "0123456789ab", Input: "base.2.a" + ext, Format: format, FixUps: job.FixUpsNone, Platform: job.PlatformVSphere}
	return s
}

// add writes the contents as they are now to a file of the chain.
func (s *site) add(t *testing.T, container chain.Container, name, parent string) {
	t.Helper()
	ctx := t.Context()
	raw := filepath.Join(s.dir, "content.raw")
	if err := os.WriteFile(raw, s.content, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(name string) *chain.Chain {
		c, err := diskimage.Open(ctx, diskimage.Input{Folder: diskimage.Local(s.store), Name: name, Raw: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	out := diskimage.Output{
		Store: s.store, Name: name, Format: diskimage.Format{Container: container},
		Identity: diskimage.Identity{ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(name)), Created: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)},
	}
	if parent != "" {
		out.Parent = open(parent)
	}
	if _, err := diskimage.Convert(ctx, open("content.raw"), out, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(raw); err != nil {
		t.Fatal(err)
	}
}

func (s *site) approval(t *testing.T) Approval {
	t.Helper()
	admitted, err := Preflight(t.Context(), s.store, s.task)
	if err != nil {
		t.Fatal(err)
	}
	return admitted.Approval
}

func quiet(job.Progress) {}

func forget(copier.State) {}

// eager is a clock by which a state is always due.
func eager() func() time.Time {
	now := time.Unix(0, 0)
	return func() time.Time { now = now.Add(2 * time.Second); return now }
}

// throughJSON is a state as it comes out of a heartbeat.
func throughJSON(t *testing.T, s *copier.State) *copier.State {
	t.Helper()
	if s == nil {
		return nil
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back copier.State
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	return &back
}

var errPower = errors.New("power failure")

const pageBytes = 64 << 10

// pages are what of a disk is not zero.
type pages map[int64][]byte

func (m pages) read(p []byte, off int64) {
	for len(p) > 0 {
		n := min(int64(len(p)), pageBytes-off%pageBytes)
		if page := m[off/pageBytes]; page != nil {
			copy(p[:n], page[off%pageBytes:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+n
	}
}

func (m pages) write(p []byte, off int64) {
	for len(p) > 0 {
		n := min(int64(len(p)), pageBytes-off%pageBytes)
		page := m[off/pageBytes]
		if page == nil && !isZero(p[:n]) {
			page = make([]byte, pageBytes)
			m[off/pageBytes] = page
		}
		if page != nil {
			copy(page[off%pageBytes:], p[:n])
		}
		p, off = p[n:], off+n
	}
}

// memDisk is a disk in memory that loses what was not synced.
type memDisk struct {
	size int64

	mu           sync.Mutex
	now, durable pages
	dirty        []span
	// ops counts writes, zeroings and syncs; that with the number failAt fails,
	// and all that follow.
	ops, failAt int
	zeroed      int64
	// spoil may change what is written.
	spoil func(off int64, p []byte)
}

func newDisk(size int64) *memDisk {
	return &memDisk{size: size, now: pages{}, durable: pages{}}
}

// fill makes the first n bytes junk.
func (d *memDisk) fill(n int64) {
	junk := bytes.Repeat([]byte{0xEE}, int(n))
	d.put(0, junk)
}

// put puts bytes on the disk behind everybody's back.
func (d *memDisk) put(off int64, p []byte) {
	d.now.write(p, off)
	d.durable.write(p, off)
}

func (d *memDisk) Size() int64      { return d.size }
func (d *memDisk) DropCache() error { return nil }

func (d *memDisk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(int64(len(p)), max(0, d.size-off))
	d.now.read(p[:n], off)
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// step counts an operation.
func (d *memDisk) step() error {
	if d.ops++; d.failAt > 0 && d.ops >= d.failAt {
		return errPower
	}
	return nil
}

func (d *memDisk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return 0, err
	}
	if d.spoil != nil {
		p = bytes.Clone(p)
		d.spoil(off, p)
	}
	d.now.write(p, off)
	d.dirty = append(d.dirty, span{off, off + int64(len(p))})
	return len(p), nil
}

func (d *memDisk) ZeroRange(off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return err
	}
	d.dirty = append(d.dirty, span{off, off + n})
	d.zeroed += n
	for end := off + n; off < end; {
		n := min(end-off, pageBytes-off%pageBytes)
		d.now.write(zeros[:n], off)
		off += n
	}
	return nil
}

func (d *memDisk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return err
	}
	for _, s := range d.dirty {
		move(d.durable, d.now, s)
	}
	d.dirty = nil
	return nil
}

func move(to, from pages, s span) {
	p := make([]byte, s.end-s.off)
	from.read(p, s.off)
	to.write(p, s.off)
}

// crash is what comes of the disk after a loss of power: of what was not synced,
// some sectors are there and others not.
func (d *memDisk) crash(rng *rand.Rand) {
	for _, s := range d.dirty {
		for at := s.off; at < s.end; at += sectorBytes {
			if rng.IntN(2) == 0 {
				move(d.durable, d.now, span{at, min(at+sectorBytes, s.end)})
			}
		}
	}
	for _, s := range d.dirty {
		move(d.now, d.durable, s)
	}
	d.dirty, d.ops, d.failAt = nil, 0, 0
}

// is checks that the disk holds what it should, with changes, and zeros behind it.
func (s *site) is(t *testing.T, d *memDisk, changes ...nativeboot.Write) {
	t.Helper()
	const piece = 1 << 20
	want, got := make([]byte, piece), make([]byte, piece)
	for off := int64(0); off < d.size; off += piece {
		n := min(piece, d.size-off)
		p, q := want[:n], got[:n]
		clear(p)
		if _, err := s.image.ReadAt(p, off); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		for _, w := range changes {
			if at := w.Offset - off; at < n && at+int64(len(w.Data)) > 0 {
				copy(p[max(0, at):], w.Data[max(0, -at):])
			}
		}
		if d.durable.read(q, off); bytes.Equal(p, q) {
			continue
		}
		for i := range p {
			if p[i] != q[i] {
				t.Fatalf("offset %d: %#x, want %#x", off+int64(i), q[i], p[i])
			}
		}
	}
}

// counting is a store that counts what is read, and can end with the context.
type counting struct {
	share.Store
	read *int64
	mu   *sync.Mutex
	// after is called when so many bytes were read.
	after int64
	then  func()
}

func (c *counting) Open(ctx context.Context, name string) (share.File, error) {
	f, err := c.Store.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	return countingFile{f, c}, nil
}

type countingFile struct {
	share.File
	c *counting
}

func (f countingFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.c.mu.Lock()
	*f.c.read += int64(n)
	due := f.c.then != nil && *f.c.read >= f.c.after
	then := f.c.then
	if due {
		f.c.then = nil
	}
	f.c.mu.Unlock()
	if due {
		then()
	}
	return n, err
}

// dirtyLog puts an entry into the log of a VHDX of ours, [MS-VHDX] 2.3, which
// zeros 64 KiB of the file at off.
func dirtyLog(t *testing.T, path string, off int64) {
	t.Helper()
	le := binary.LittleEndian
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seal := func(p []byte) {
		le.PutUint32(p[4:], 0)
		le.PutUint32(p[4:], crc32.Checksum(p, castagnoli))
	}
	for _, at := range []int{64 << 10, 128 << 10} {
		header := file[at:][:4096]
		copy(header[48:], "0123456789abcdef")
		seal(header)
	}
	entry := file[mib:][:4096] // where our writer has the log
	clear(entry)
	copy(entry, "loge")
	le.PutUint32(entry[8:], 4096) // length
	le.PutUint64(entry[16:], 1)   // sequence number
	le.PutUint32(entry[24:], 1)   // descriptors
	copy(entry[32:], "0123456789abcdef")
	le.PutUint64(entry[48:], uint64(len(file)))
	le.PutUint64(entry[56:], uint64(len(file)))
	copy(entry[64:], "zero")
	le.PutUint64(entry[72:], 64<<10)
	le.PutUint64(entry[80:], uint64(off))
	le.PutUint64(entry[88:], 1)
	seal(entry)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
}

// sum is the CRC-32C as results have it.
func sum(p []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(p, castagnoli)) }
