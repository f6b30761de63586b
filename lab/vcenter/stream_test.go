package vcenter

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

// plate is a disk in memory that takes no write outside.
type plate []byte

func (p plate) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > int64(len(p)) {
		return 0, io.ErrShortWrite
	}
	return copy(p[at:], b), nil
}

// sealed writes a stream of the parts.
func sealed(t testing.TB, parts ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		if err := binary.Write(&b, binary.LittleEndian, p); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func header(edit func(*streamHeader)) []any {
	h := streamHeader{
		Magic: sparseMagic, Version: 3, Flags: 3<<16 | 1, Capacity: 2048, GrainSize: 128,
		Overhead: 1, Compression: 1,
	}
	edit(&h)
	return []any{h, make([]byte, sector-binary.Size(h))}
}

func deflated(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func grainAt(t testing.TB, at uint64, packed []byte) []any {
	return []any{at, uint32(len(packed)), packed, make([]byte, (sector-(12+len(packed))%sector)%sector)}
}

func TestStreamsThatAreRefused(t *testing.T) {
	same := func(*streamHeader) {}
	full := deflated(t, make([]byte, 128*sector))
	for name, parts := range map[string][]any{
		"nothing":              {},
		"magic":                header(func(h *streamHeader) { h.Magic++ }),
		"version":              header(func(h *streamHeader) { h.Version = 9 }),
		"not compressed":       header(func(h *streamHeader) { h.Flags = 1 << 17 }),
		"no markers":           header(func(h *streamHeader) { h.Flags = 1 << 16 }),
		"grains of nothing":    header(func(h *streamHeader) { h.GrainSize = 0 }),
		"huge grains":          header(func(h *streamHeader) { h.GrainSize = 1 << 40 }),
		"huge overhead":        header(func(h *streamHeader) { h.Overhead = 1 << 60 }),
		"overhead cut off":     header(func(h *streamHeader) { h.Overhead = 7 }),
		"larger than the VM's": header(func(h *streamHeader) { h.Capacity = 4096 }),
		"no end":               header(same),
		"huge metadata":        append(header(same), marker{Value: 1 << 62, Type: 1}),
		"metadata cut off":     append(header(same), marker{Value: 1, Type: 1}),
		"huge grain":           append(header(same), marker{Size: 1 << 31}),
		"grain cut off":        append(header(same), marker{Size: 1 << 10}),
		"grain outside":        append(header(same), grainAt(t, 2048, full)...),
		"grain between":        append(header(same), grainAt(t, 1, full)...),
		"short grain":          append(header(same), grainAt(t, 0, full[:20])...),
		"no zlib":              append(header(same), grainAt(t, 0, []byte("no zlib at all"))...),
		"too little in it":     append(header(same), grainAt(t, 0, deflated(t, make([]byte, 100)))...),
	} {
		t.Run(name, func(t *testing.T) {
			err := unpackStream(bytes.NewReader(sealed(t, parts...)), make(plate, 1<<20), 1<<20)
			if !errors.Is(err, errStream) {
				t.Errorf("%v", err)
			}
		})
	}
}

func FuzzUnpackStream(f *testing.F) {
	same := func(*streamHeader) {}
	f.Add(sealed(f, append(append(header(same), grainAt(f, 128, deflated(f, bytes.Repeat([]byte("x"), 128*sector)))...), marker{}, make([]byte, sector-16))...))
	f.Add(sealed(f, append(header(same), marker{Value: 1, Type: 1}, make([]byte, 2*sector-16), marker{}, make([]byte, sector-16))...))
	f.Fuzz(func(t *testing.T, data []byte) {
		const size = 1<<20 - 512 // not a whole number of grains
		if err := unpackStream(bytes.NewReader(data), make(plate, size), size); err != nil && !errors.Is(err, errStream) {
			t.Error(err)
		}
	})
}
