package vhdx

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"imageport/testkit/disktest"
)

var testLogGUID = uuid.MustParse("10600000-0000-4000-8000-000000000001")

// testEntry is a log entry to be written.
type testEntry struct {
	sequence      uint64
	tail          int // in sectors
	guid          uuid.UUID
	flushed, last uint64
	changes       []testChange
}

// testChange sets a sector of the file, or zeros a range.
type testChange struct {
	offset int64
	data   []byte // logSectorSize bytes
	zeros  uint64
}

// encode is the entry as [MS-VHDX] 2.3.1 has it.
func (e testEntry) encode() []byte {
	p := make([]byte, logSectorSize*descriptorSectors(len(e.changes)))
	for i, c := range e.changes {
		d := p[logEntryHeaderSize+i*logDescriptorSize:]
		le.PutUint64(d[16:], uint64(c.offset))
		le.PutUint64(d[24:], e.sequence)
		if c.data == nil {
			copy(d, "zero")
			le.PutUint64(d[8:], c.zeros)
			continue
		}
		copy(d, "desc")
		copy(d[4:8], c.data[4092:])
		copy(d[8:16], c.data)
		sector := bytes.Clone(c.data)
		copy(sector, "data")
		le.PutUint32(sector[4:], uint32(e.sequence>>32))
		le.PutUint32(sector[4092:], uint32(e.sequence))
		p = append(p, sector...)
	}
	copy(p, "loge")
	le.PutUint32(p[8:], uint32(len(p)))
	le.PutUint32(p[12:], uint32(e.tail*logSectorSize))
	le.PutUint64(p[16:], e.sequence)
	le.PutUint32(p[24:], uint32(len(e.changes)))
	putGUID(p[32:], e.guid)
	le.PutUint64(p[48:], e.flushed)
	le.PutUint64(p[56:], e.last)
	le.PutUint32(p[4:], checksum(p))
	return p
}

// apply makes the changes of an entry in a file, as a replay on storage would.
func (e testEntry) apply(file []byte) []byte {
	for _, c := range e.changes {
		data := c.data
		if data == nil {
			data = make([]byte, c.zeros)
		}
		file = disktest.Apply(file, disktest.Write{Off: c.offset, Data: data})
	}
	if n := int(e.last) - len(file); n > 0 {
		file = append(file, make([]byte, n)...)
	}
	return file
}

// dirty puts entries into the log of a file, from a sector on, one after the
// other and around its end, and names the log in the headers.
func dirty(file []byte, sector int, entries ...[]byte) {
	head, err := currentHeader(bytes.NewReader(file))
	if err != nil {
		panic(err)
	}
	log := file[head.logOffset:][:head.logLength]
	for _, e := range entries {
		for ; len(e) > 0; e = e[logSectorSize:] {
			copy(log[sector*logSectorSize%len(log):], e[:logSectorSize])
			sector++
		}
	}
	bothHeaders(file, func(h []byte) { putGUID(h[48:], testLogGUID) })
}

// sectorOf is a sector of bytes that depend on a seed.
func sectorOf(seed uint64) []byte { return disktest.Pattern(logSectorSize, seed) }

// replayFixture is a file of 9 MiB and three entries that follow one another,
// of 4, 1 and 2 sectors; the last one extends the file.
func replayFixture(t testing.TB) (file []byte, entries [3]testEntry) {
	t.Helper()
	file = smallChild(t)
	size := uint64(len(file))
	entries = [3]testEntry{
		{sequence: 1<<32 + 7, changes: []testChange{
			{offset: 5 << 20, data: sectorOf(1)},
			{offset: 6 << 20, data: sectorOf(2)},
			{offset: 6<<20 + 8192, data: sectorOf(3)},
		}},
		{sequence: 1<<32 + 8, changes: []testChange{
			{offset: 6<<20 + 4096, zeros: 12288},
			{offset: 7<<20 - 4096, zeros: 8192},
		}},
		{sequence: 1<<32 + 9, changes: []testChange{
			{offset: 6<<20 + 4096, data: sectorOf(4)},
			{offset: 11 << 20, zeros: 4096},
			{offset: 6 << 20, zeros: 0},
		}},
	}
	for i := range entries {
		entries[i].guid, entries[i].flushed, entries[i].last = testLogGUID, size, size
	}
	entries[2].last = size + 4<<20
	return file, entries
}

func TestReplay(t *testing.T) {
	base, good := replayFixture(t)
	const logSectors = mib / logSectorSize
	sum := func(p []byte) []byte { le.PutUint32(p[4:], checksum(p)); return p }
	for _, c := range []struct {
		name   string
		at     int                      // sector that the first entry is at
		change func(e *[3]testEntry)    // before they are encoded
		damage func(p [3][]byte)        // after
		file   func(file []byte) []byte // last
		want   []int                    // the entries that are replayed
		kind   error                    // or what is refused
		text   string
	}{
		{name: "whole log", want: []int{0, 1, 2}},
		{name: "around the end", at: logSectors - 2, want: []int{0, 1, 2}},
		{name: "entry around the end", at: logSectors - 6, want: []int{0, 1, 2}},
		{name: "flushed up to the second", change: func(e *[3]testEntry) { e[2].tail = 4 }, want: []int{1, 2}},
		{name: "flushed but for the last", change: func(e *[3]testEntry) { e[2].tail = 5 }, want: []int{2}},
		{name: "last one torn", damage: func(p [3][]byte) { clear(p[2][4096:]) }, want: []int{0, 1}},
		{name: "last one corrupt", damage: func(p [3][]byte) { p[2][5000] ^= 1 }, want: []int{0, 1}},
		{name: "last one's header corrupt", damage: func(p [3][]byte) { p[2][49] ^= 1 }, want: []int{0, 1}},
		{name: "middle one torn", damage: func(p [3][]byte) { p[1][70] ^= 1 }, want: []int{0}},
		{name: "first one torn", damage: func(p [3][]byte) { p[0][5000] ^= 1 }, kind: ErrCorrupt, text: "no valid sequence"},
		{name: "first one torn, but flushed", change: func(e *[3]testEntry) { e[2].tail = 4 },
			damage: func(p [3][]byte) { p[0][5000] ^= 1 }, want: []int{1, 2}},
		{name: "gap in the numbers", change: func(e *[3]testEntry) { e[2].sequence++ }, want: []int{0, 1}},
		{name: "newer sequence after a gap", change: func(e *[3]testEntry) { e[2].sequence++; e[2].tail = 5 }, want: []int{2}},
		{name: "older sequence behind", change: func(e *[3]testEntry) { e[2].sequence = 5; e[2].tail = 5 }, want: []int{0, 1}},
		{name: "other GUID", change: func(e *[3]testEntry) { e[2].guid[0]++ }, want: []int{0, 1}},
		{name: "all of another GUID", change: func(e *[3]testEntry) { e[0].guid[0]++; e[1].guid[0]++; e[2].guid[0]++ },
			kind: ErrCorrupt, text: "no valid sequence"},
		{name: "number 0", change: func(e *[3]testEntry) { e[0].sequence, e[1].sequence, e[2].sequence = 0, 7, 9 }, kind: ErrCorrupt, text: "no valid sequence"},
		{name: "empty log", damage: func(p [3][]byte) { clear(p[0]); clear(p[1]); clear(p[2]) }, kind: ErrCorrupt, text: "no valid sequence"},

		{name: "descriptor's number", damage: func(p [3][]byte) { p[2][64+24]++; sum(p[2]) }, want: []int{0, 1}},
		{name: "descriptor's signature", damage: func(p [3][]byte) { p[2][64+32] = 'Z'; sum(p[2]) }, want: []int{0, 1}},
		{name: "descriptor count", damage: func(p [3][]byte) { p[2][24] = 2; sum(p[2]) }, want: []int{0, 1, 2}}, // one less, of nothing
		{name: "descriptors of 128 GiB", damage: func(p [3][]byte) { le.PutUint32(p[2][24:], 0xffffffff); sum(p[2]) }, want: []int{0, 1}},
		{name: "data sector's number, low", damage: func(p [3][]byte) { p[2][8191]++; sum(p[2]) }, want: []int{0, 1}},
		{name: "data sector's number, high", damage: func(p [3][]byte) { p[2][4096+4]++; sum(p[2]) }, want: []int{0, 1}},
		{name: "data sector's signature", damage: func(p [3][]byte) { p[2][4096]++; sum(p[2]) }, want: []int{0, 1}},
		{name: "data sector missing", damage: func(p [3][]byte) { le.PutUint32(p[2][8:], 4096); le.PutUint32(p[2][4:], checksum(p[2][:4096])) }, want: []int{0, 1}},
		{name: "length 0", damage: func(p [3][]byte) { le.PutUint32(p[2][8:], 0) }, want: []int{0, 1}},
		{name: "length of 4 GiB", damage: func(p [3][]byte) { le.PutUint32(p[2][8:], 0xfffff000) }, want: []int{0, 1}},
		{name: "unaligned length", damage: func(p [3][]byte) { le.PutUint32(p[2][8:], 8191); sum(p[2]) }, want: []int{0, 1}},
		{name: "unaligned tail", damage: func(p [3][]byte) { p[2][12]++; sum(p[2]) }, want: []int{0, 1}},
		{name: "tail outside", damage: func(p [3][]byte) { le.PutUint32(p[2][12:], mib); sum(p[2]) }, want: []int{0, 1}},
		{name: "unaligned offset", change: func(e *[3]testEntry) { e[2].changes[0].offset++ }, want: []int{0, 1}},
		{name: "unaligned zeros", change: func(e *[3]testEntry) { e[2].changes[1].zeros++ }, want: []int{0, 1}},
		{name: "over a header", change: func(e *[3]testEntry) { e[2].changes[0].offset = header2Offset }, want: []int{0, 1}},
		{name: "over the log", change: func(e *[3]testEntry) { e[2].changes[0].offset = 2*mib - 4096 }, want: []int{0, 1}},
		{name: "zeros over the log", change: func(e *[3]testEntry) { e[2].changes[1] = testChange{offset: mib - 4096, zeros: 8192} }, want: []int{0, 1}},
		{name: "far outside", change: func(e *[3]testEntry) { e[2].changes[0].offset = 1 << 62 }, want: []int{0, 1}},
		{name: "zeros far outside", change: func(e *[3]testEntry) { e[2].changes[1].zeros = 1<<64 - 4096 }, want: []int{0, 1}},

		{name: "truncated file", file: func(p []byte) []byte { return p[:len(p)-mib] }, kind: ErrCorrupt, text: "truncated to 8388608"},
		{name: "file size beyond 128 TiB", change: func(e *[3]testEntry) { e[2].last = 1 << 60 }, kind: ErrCorrupt, text: "file size"},
		{name: "log version 1", file: func(p []byte) []byte { bothHeaders(p, func(h []byte) { h[64] = 1 }); return p }, kind: ErrUnsupported, text: "log version 1"},
		{name: "no log", file: func(p []byte) []byte { bothHeaders(p, func(h []byte) { le.PutUint32(h[68:], 0) }); return p }, kind: ErrCorrupt, text: "log of 0 bytes"},
		{name: "log of half a MiB", file: func(p []byte) []byte {
			bothHeaders(p, func(h []byte) { le.PutUint32(h[68:], mib/2) })
			return p
		}, kind: ErrCorrupt, text: "log of 524288 bytes"},
		{name: "log of 33 MiB", file: func(p []byte) []byte {
			bothHeaders(p, func(h []byte) { le.PutUint32(h[68:], 33*mib); le.PutUint64(h[72:], uint64(len(p))) })
			return append(p, make([]byte, 33*mib)...)
		}, kind: ErrUnsupported, text: "at most 33554432"},
	} {
		t.Run(c.name, func(t *testing.T) {
			entries := good
			for i := range entries {
				entries[i].changes = slices.Clone(entries[i].changes)
				entries[i].tail = 0
			}
			if c.change != nil {
				c.change(&entries)
			}
			var raw [3][]byte
			for i := range entries {
				entries[i].tail = (entries[i].tail + c.at) % logSectors
				raw[i] = entries[i].encode()
			}
			if c.damage != nil {
				c.damage(raw)
			}
			file := bytes.Clone(base)
			dirty(file, c.at, raw[:]...)
			if c.file != nil {
				file = c.file(file)
			}
			before := bytes.Clone(file)
			if _, err := Open(bytes.NewReader(file), int64(len(file))); !errors.Is(err, ErrDirtyLog) && !errors.Is(err, ErrCorrupt) {
				t.Errorf("Open: %v", err)
			}
			im, err := OpenWith(bytes.NewReader(file), int64(len(file)), OpenOptions{ReplayLog: true})
			if c.kind != nil {
				if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "at offset 0x") {
					t.Errorf("%v\nwant %v with %q", err, c.kind, c.text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := bytes.Clone(file)
			for _, i := range c.want {
				want = entries[i].apply(want)
			}
			got, err := io.ReadAll(io.NewSectionReader(im.r, 0, 1<<40))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, want %d, or they differ (%v)", len(got), len(want), err)
			}
			if !bytes.Equal(file, before) {
				t.Error("the file has changed")
			}
			if !im.Info().DirtyLog {
				t.Error("not said to be dirty")
			}
			if found := problems(t, im); len(found) != 1 || found[0].Kind != ErrDirtyLog || !found[0].Readable {
				t.Errorf("Check finds %v", found)
			}
			if err := readThrough(t, im); err != nil {
				t.Error(err)
			}
		})
	}
}
