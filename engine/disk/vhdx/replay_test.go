package vhdx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"imageport/testkit/disktest"
)

// TestReplayManyDescriptors has more descriptors than fit into one sector, in an
// entry that goes around the end of the log.
func TestReplayManyDescriptors(t *testing.T) {
	file, entries := replayFixture(t)
	e := entries[0]
	e.tail, e.changes = 255, nil
	for i := range int64(255) {
		c := testChange{offset: 5<<20 + i*8192, data: sectorOf(uint64(i))}
		if i%3 == 0 {
			c = testChange{offset: c.offset, zeros: 8192}
		}
		e.changes = append(e.changes, c)
	}
	if n := descriptorSectors(len(e.changes)); n != 3 {
		t.Fatalf("%d sectors", n)
	}
	dirty(file, 255, e.encode())
	im, err := OpenWith(bytes.NewReader(file), int64(len(file)), OpenOptions{ReplayLog: true})
	if err != nil {
		t.Fatal(err)
	}
	want := e.apply(bytes.Clone(file))
	got, err := io.ReadAll(io.NewSectionReader(im.r, 0, 1<<40))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file differs (%v)", err)
	}
	// Reads that begin and end anywhere see the same.
	for off := int64(5<<20 - 100); off < 6<<20; off += 3333 {
		p := make([]byte, 7777)
		if _, err := im.r.ReadAt(p, off); err != nil || !bytes.Equal(p, want[off:][:len(p)]) {
			t.Fatalf("at %#x: differs (%v)", off, err)
		}
	}
}

// TestReplayWindows replays what Windows has left in a log that it was done
// with: an entry without changes.
func TestReplayWindows(t *testing.T) {
	for _, name := range []string{"ntfs-fixed.vhdx", "ntfs-dynamic.vhdx", "ntfs-differential.vhdx"} {
		p := disktest.Unpack(t, name)
		left := guid(p[mib+32:])
		bothHeaders(p, func(h []byte) { putGUID(h[48:], left) })
		im, err := OpenWith(bytes.NewReader(p), int64(len(p)), OpenOptions{ReplayLog: true})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := io.ReadAll(io.NewSectionReader(im.r, 0, 1<<40))
		if err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s: the file differs (%v)", name, err)
		}
	}
}

// TestReplayQEMU has QEMU replay the same logs on storage: a block that is
// moved to the end of the file, one that comes into being, and one that goes.
func TestReplayQEMU(t *testing.T) {
	dir := t.TempDir()
	raw := make([]byte, 64<<20)
	disktest.Fill(raw, 0, 3<<20, 40)
	disktest.Fill(raw, 40<<20, 5<<20, 41)
	path := filepath.Join(dir, "q.vhdx")
	qemuImage(t, path, raw, "dynamic")
	clean, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	im := openBytes(t, clean)
	batAt, block := im.bat.offset, im.geo.blockSize
	bat := bytes.Clone(clean[batAt:][:logSectorSize])
	size := uint64(len(clean))
	place := func(i int) int64 { return int64(le.Uint64(bat[8*i:]) &^ (mib - 1)) }
	t.Logf("blocks of %d bytes, BAT at %#x, file of %d", block, batAt, size)

	var entries []testEntry
	for i := range 3 {
		e := testEntry{sequence: uint64(100 + i), tail: 7, guid: testLogGUID, flushed: size, last: size + uint64(block)*uint64(i)}
		switch i {
		case 0: // sectors of blocks that are there, and zeros over data
			e.changes = []testChange{{offset: place(0) + 4096, data: sectorOf(50)}, {offset: place(0) + 65536, zeros: 1 << 20}}
		case 1: // a new block that the file has no space for yet
			le.PutUint64(bat[8*2:], size|6)
			e.changes = []testChange{{offset: batAt, data: bytes.Clone(bat)}, {offset: int64(size) + 8192, data: sectorOf(51)},
				// QEMU 7.2 does not extend files to LastFileOffset if that is whole MiB.
				{offset: int64(size) + block - 4096, zeros: 4096}}
		case 2: // another one, and one less
			le.PutUint64(bat[8*3:], size+uint64(block)|6)
			le.PutUint64(bat[8*0:], uint64(blockZero))
			for n := range int64(120) { // QEMU 7.2 refuses descriptors of more than one sector
				e.changes = append(e.changes, testChange{offset: int64(size) + block + n*12288, data: sectorOf(uint64(n))})
			}
			e.changes = append(e.changes, testChange{offset: batAt, data: bytes.Clone(bat)},
				testChange{offset: int64(size) + 2*block - 4096, zeros: 4096})
		}
		entries = append(entries, e)
	}
	for n := 1; n <= len(entries); n++ {
		t.Run(fmt.Sprintf("%d entries", n), func(t *testing.T) {
			file := bytes.Clone(clean)
			var logged [][]byte
			for _, e := range entries[:n] {
				logged = append(logged, e.encode())
			}
			dirty(file, 7, logged...) // QEMU 7.2 takes the part of a sequence behind the end of the log for a sequence
			ours, err := OpenWith(bytes.NewReader(file), int64(len(file)), OpenOptions{ReplayLog: true})
			if err != nil {
				t.Fatal(err)
			}
			replayed := filepath.Join(dir, "replayed.vhdx")
			if err := os.WriteFile(replayed, file, 0o600); err != nil {
				t.Fatal(err)
			}
			disktest.Run(t, "qemu-img", "check", "-q", "-r", "all", "-f", "vhdx", replayed)
			theirs := openPath(t, replayed)
			d := openDisk(t, ours, nil)
			disktest.Same(t, openDisk(t, theirs, nil), bytes.NewReader(disktest.ReadAll(t, d)), "our replay")
			back := replayed + ".raw"
			disktest.Run(t, "qemu-img", "convert", "-f", "vhdx", "-O", "raw", replayed, back)
			disktest.Same(t, d, openFile(t, back), "qemu-img convert")
			if bytes.Equal(disktest.ReadAll(t, d), raw) {
				t.Error("nothing was replayed")
			}
		})
	}
}

// FuzzLog has the log itself be anything, after a valid file. With fix,
// checksums are made right, so that what lies behind them is reached.
func FuzzLog(f *testing.F) {
	base, entries := replayFixture(f)
	var all []byte
	for _, e := range entries {
		f.Add(e.encode(), uint8(255), true)
		all = append(all, e.encode()...)
	}
	f.Add(all, uint8(0), true)
	f.Add(all, uint8(254), true)
	overlapping := testEntry{sequence: 3, guid: testLogGUID}
	for i := range 130 {
		overlapping.changes = append(overlapping.changes, testChange{offset: int64(200+i*7%40) * 4096, zeros: uint64(i % 11 * 4096)})
	}
	overlapping.changes = append(overlapping.changes, testChange{offset: 220 * 4096, data: sectorOf(9)})
	f.Add(overlapping.encode(), uint8(0), true)
	f.Fuzz(func(t *testing.T, log []byte, at uint8, fix bool) {
		l := &logRegion{mib, testLogGUID, make([]byte, mib)}
		for n := 0; n < min(len(log), mib); n += logSectorSize {
			copy(l.sector(int(at)+n/logSectorSize), log[n:])
		}
		if fix {
			for i := range l.sectors() {
				p := l.sector(i)
				if n := int(le.Uint32(p[8:])) / logSectorSize; string(p[:4]) == logEntrySignature && n <= l.sectors() {
					var more [][]byte
					for s := 1; s < n; s++ {
						more = append(more, l.sector(i+s))
					}
					le.PutUint32(p[4:], checksum(p, more...))
				}
			}
		}
		file := bytes.Clone(base)
		copy(file[mib:], l.data)
		bothHeaders(file, func(h []byte) { putGUID(h[48:], testLogGUID) })
		head, err := currentHeader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		replayed, err := replay(bytes.NewReader(file), int64(len(file)), head)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("not one of ours: %v", err)
			}
			return
		}
		// The same by the letter: descriptor after descriptor.
		active, err := l.activeSequence()
		if err != nil {
			t.Fatal(err)
		}
		const most = 64 * mib
		want := bytes.Clone(file)
		for _, e := range active {
			for _, p := range l.appendPatches(nil, e) {
				if p.end > most {
					return
				}
				data := p.data
				if data == nil {
					data = make([]byte, p.end-p.offset)
				}
				want = disktest.Apply(want, disktest.Write{Off: p.offset, Data: data})
			}
		}
		got, err := io.ReadAll(io.NewSectionReader(replayed, 0, int64(len(want))))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("replayed %d bytes, want %d, or they differ (%v)", len(got), len(want), err)
		}
		im, err := OpenWith(bytes.NewReader(file), int64(len(file)), OpenOptions{ReplayLog: true})
		if err != nil {
			return
		}
		sound := len(problems(t, im)) == 1 // the dirty log
		if err := readThrough(t, im); err != nil && (sound || !errors.Is(err, ErrCorrupt)) {
			t.Errorf("reading: %v", err)
		}
	})
}
