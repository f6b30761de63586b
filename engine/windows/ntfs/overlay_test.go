package ntfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imageport/engine/windows/wof"
)

// packed is a file as WOF leaves it: what programs read, and the stream.
type packed struct {
	algorithm wof.Algorithm
	content   []byte
	stream    []byte
}

// packedVectors are files that another compressor made, one an algorithm, by
// the name of the algorithm.
func packedVectors(t testing.TB) map[string]packed {
	t.Helper()
	const testdata = "../wof/testdata/"
	content, err := os.ReadFile(testdata + "content")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]packed{}
	for _, a := range []wof.Algorithm{wof.XPRESS4K, wof.XPRESS8K, wof.XPRESS16K, wof.LZX} {
		stream, err := os.ReadFile(testdata + strings.ToLower(a.String()) + ".wof")
		if err != nil {
			t.Fatal(err)
		}
		files[a.String()] = packed{a, content, stream}
	}
	return files
}

// longPacked makes a file of many chunks of 4 KiB: those of a vector, and
// stored ones, in any order.
func longPacked(vector packed, chunks int) packed {
	const size = 4096
	var parts, contents [][]byte
	entries := (len(vector.content)-1)/size + 1 - 1
	bounds := []int{4 * entries}
	for i := range entries {
		bounds = append(bounds, 4*entries+int(binary.LittleEndian.Uint32(vector.stream[4*i:])))
	}
	for i := range entries { // not the last, which is short
		parts = append(parts, vector.stream[bounds[i]:bounds[i+1]])
		contents = append(contents, vector.content[i*size:(i+1)*size])
	}
	long := packed{algorithm: vector.algorithm}
	var table, data []byte
	r := rand.New(rand.NewSource(1))
	for i := range chunks {
		if i > 0 {
			table = binary.LittleEndian.AppendUint32(table, uint32(len(data)))
		}
		if k := r.Intn(2 * len(parts)); i < chunks-1 && k < len(parts) {
			data, long.content = append(data, parts[k]...), append(long.content, contents[k]...)
			continue
		}
		stored := random(i, size)
		if i == chunks-1 {
			stored = stored[:77]
		}
		data, long.content = append(data, stored...), append(long.content, stored...)
	}
	long.stream = append(table, data...)
	return long
}

func reparseWords(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// write puts the file on a volume that is mounted with the Windows interface
// to streams: a hole of its size, the stream, and last, as ntfs-3g does not
// open such files, the reparse point.
func (p packed) write(t testing.TB, path string, write func(stream io.Writer) error) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(p.content))); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path + ":" + wof.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	setReparse(t, path, wof.ReparseTag, reparseWords(1, 2, 1, uint32(p.algorithm)))
}

// TestOverlay reads files that WOF compressed, on volumes of several
// geometries.
func TestOverlay(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"-c", "512"}, {"-c", "65536"}, {"-s", "4096"}} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			t.Parallel()
			files := packedVectors(t)
			files["long"] = longPacked(files["XPRESS4K"], 700)
			files["fragmented"] = longPacked(files["XPRESS4K"], 300)
			files["stored.txt"] = packed{wof.LZX, []byte("resident, too short to compress"), []byte("resident, too short to compress")}
			files["empty"] = packed{wof.XPRESS4K, nil, nil}
			image := format(t, 48<<20, args...)
			mounted(t, image, "streams_interface=windows", func(root string) {
				between := 0
				for _, name := range slices.Sorted(maps.Keys(files)) {
					p := files[name]
					p.write(t, filepath.Join(root, name), func(stream io.Writer) error {
						step := len(p.stream) + 1
						if name == "fragmented" {
							step = 5000
						}
						for piece := range slices.Chunk(p.stream, step) {
							if _, err := stream.Write(piece); err != nil {
								return err
							}
							if name == "fragmented" {
								between++ // something that lies between
								if err := os.WriteFile(filepath.Join(root, fmt.Sprint("between ", between)), piece, 0o644); err != nil {
									return err
								}
							}
						}
						return nil
					})
				}
			})
			v, b := readImage(t, image)
			for name, p := range files {
				checkPacked(t, v, b, name, p.content)
			}
			f, err := v.Open("fragmented")
			if err != nil {
				t.Fatal(err)
			}
			if runs := len(f.content.(overlay).stream.runs); runs < 5 && v.clusterSize == 4096 {
				t.Errorf("%d runs of the stream; the test wants several", runs)
			}
		})
	}
}

func checkPacked(t *testing.T, v *Volume, image []byte, name string, content []byte) {
	t.Helper()
	f, err := v.Open(name)
	if err != nil {
		t.Error(err)
		return
	}
	if !f.WOF() || f.ReparseTag() != wof.ReparseTag {
		t.Errorf("%s: WOF %v, tag 0x%08x", name, f.WOF(), f.ReparseTag())
	}
	if e, err := v.Stat(name); err != nil || e.Size != int64(len(content)) || e.ReparseTag != wof.ReparseTag {
		t.Errorf("%s: %+v, %v", name, e, err)
	}
	if _, err := f.Extents(); !errors.Is(err, ErrNotEditable) || !strings.Contains(err.Error(), "CompactOS") {
		t.Errorf("%s: Extents: %v", name, err)
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()+1))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%s: %d of %d bytes, differs at %d, %v", name, len(got), len(content), firstDifference(got, content), err)
	}
	for off := len(content) - 1; off >= 0; off -= 9001 {
		p := make([]byte, 300)
		n, err := f.ReadAt(p, int64(off))
		if want := content[off:min(off+len(p), len(content))]; !bytes.Equal(p[:n], want) || (n < len(p)) != (err == io.EOF) {
			t.Errorf("%s: at %d: read %d, %v", name, off, n, err)
		}
	}
}

// TestOverlayRefusals has files that WOF cannot have left so, and ones that it
// has left elsewhere.
func TestOverlayRefusals(t *testing.T) {
	t.Parallel()
	vector := packedVectors(t)["XPRESS4K"]
	cut := vector
	cut.stream = vector.stream[:len(vector.stream)-20]
	short := vector
	short.stream = vector.stream[:3]
	image := format(t, 8<<20)
	cases := []struct {
		name    string
		file    packed
		reparse []byte // in place of the right one
		err     error
		reason  string
	}{
		{"wimboot", vector, reparseWords(1, 1, 2, 0, 0), ErrUnsupported, "WIMBoot"},
		{"algorithm", vector, reparseWords(1, 2, 1, 9), ErrUnsupported, "algorithm 9"},
		{"half", vector, reparseWords(1, 2), ErrCorrupt, "$REPARSE_POINT: NTFS volume is corrupt: WOF data is corrupt: reparse data of 8 bytes"},
		{"no stream", packed{content: vector.content}, reparseWords(1, 2, 1, 0), ErrCorrupt, "without a stream"},
		{"other algorithm", vector, reparseWords(1, 2, 1, 2), ErrCorrupt, "XPRESS8K chunk 0 of 3"},
		{"cut", cut, nil, ErrCorrupt, "XPRESS4K chunk 4 of 5"},
		{"short", short, nil, ErrCorrupt, "a stream of 3 bytes"},
	}
	mounted(t, image, "streams_interface=windows", func(root string) {
		for _, c := range cases {
			path := filepath.Join(root, c.name)
			if c.file.stream != nil {
				c.file.write(t, path, func(stream io.Writer) error {
					_, err := stream.Write(c.file.stream)
					return err
				})
			} else if err := os.WriteFile(path, c.file.content, 0o644); err != nil {
				t.Fatal(err)
			}
			if c.reparse != nil {
				setReparse(t, path, wof.ReparseTag, c.reparse)
			}
		}
	})
	v, b := readImage(t, image)
	for _, c := range cases {
		f, err := v.Open(c.name)
		if err != nil {
			t.Error(err)
			continue
		}
		_, err = io.Copy(io.Discard, io.NewSectionReader(f, 0, f.Size()))
		if !f.WOF() || !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.reason) || !strings.HasPrefix(err.Error(), c.name) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := f.Extents(); !errors.Is(err, ErrNotEditable) {
			t.Errorf("%s: Extents: %v", c.name, err)
		}
	}
	e, err := v.Stat("wimboot")
	if err != nil {
		t.Fatal(err)
	}
	editRecord(t, b, reference(e.Ref).number(), func(b []byte) {
		rawAttribute(t, b, typeReparsePoint)[0x18+4] = 200 // the length of the data
	})
	f, err := open(t, b).Open("wimboot")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.ReadAt(make([]byte, 1), 0)
	wantCorrupt(t, err, "$REPARSE_POINT: 200 bytes of data in 28")
}
