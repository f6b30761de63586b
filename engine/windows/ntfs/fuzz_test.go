package ntfs

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/windows/wof"
)

// featuresVolume has what windowsVolume lacks: attribute lists, index blocks,
// compressed (by NTFS and by WOF), sparse and fragmented files.
//
//go:embed testdata/features.ntfs.gz
var featuresVolume []byte

var update = flag.Bool("update", false, "make testdata/features.ntfs.gz anew")

func makeFeaturesVolume(t *testing.T) {
	path := format(t, 3<<20, "-c", "1024")
	mounted(t, path, "compression,streams_interface=windows", func(root string) {
		w := tree{"packed/text": text(1, 40_000), "resident": []byte("resident")}
		if err := os.Mkdir(filepath.Join(root, "packed"), 0o755); err != nil {
			t.Fatal(err)
		}
		setAttributes(t, filepath.Join(root, "packed"), 0x810)
		for i := range 60 {
			w[fmt.Sprintf("directory/file number %d", i)] = fmt.Append(nil, i)
		}
		w.write(t, root)
		for i := range 60 {
			if err := os.Link(filepath.Join(root, "resident"), filepath.Join(root, fmt.Sprintf("directory/%s%d", strings.Repeat("link ", 30), i))); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.Create(filepath.Join(root, "sparse"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i := range 200 { // each second cluster a hole
			if _, err := f.WriteAt([]byte("data"), int64(i)*2048); err != nil {
				t.Fatal(err)
			}
		}
		for name, p := range packedVectors(t) {
			p.write(t, filepath.Join(root, name), func(stream io.Writer) error {
				_, err := stream.Write(p.stream)
				return err
			})
		}
	})
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(image); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	featuresVolume = packed.Bytes()
	if err := os.WriteFile("testdata/features.ntfs.gz", featuresVolume, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestFeaturesVolume holds the volume that FuzzVolume mutates to what it is
// there for.
func TestFeaturesVolume(t *testing.T) {
	if *update {
		makeFeaturesVolume(t)
	}
	v := open(t, unpack(t, featuresVolume))
	lists, blocks, compressed, sparse, parts, overlaid := 0, 0, 0, 0, 0, 0
	err := walk(v, func(path string, e Entry) error {
		rec, err := v.record(reference(e.Ref))
		if err != nil {
			return err
		}
		lists += len(rec.parts(typeAttributeList, ""))
		for _, a := range rec.attributes {
			if a.typ == typeAttributeList {
				lists++
			}
		}
		blocks += len(rec.parts(typeIndexAllocation, "$I30"))
		if e.IsDir {
			return nil
		}
		parts = max(parts, len(rec.parts(typeData, "")))
		f, err := v.Open(path)
		if err != nil {
			return err
		}
		if f.Compressed() {
			compressed++
		}
		if f.Sparse() {
			sparse++
		}
		if f.WOF() {
			overlaid++
			_, err = io.Copy(io.Discard, io.NewSectionReader(f, 0, f.Size()))
		}
		return err
	})
	if err != nil || lists == 0 || blocks == 0 || compressed == 0 || sparse == 0 || parts < 2 || overlaid != 4 {
		t.Errorf("%d attribute lists, %d directories with blocks, %d compressed and %d sparse files, %d parts of $DATA, %d WOF files, %v", lists, blocks, compressed, sparse, parts, overlaid, err)
	}
}

// patched is a volume with some bytes changed.
type patched struct {
	base    []byte
	patches []patch
	read    int64
}

type patch struct {
	at   int64
	data []byte
}

func (p *patched) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(p.base)) {
		return 0, io.EOF
	}
	n := copy(b, p.base[off:])
	p.read += int64(n)
	for _, c := range p.patches {
		if lo, hi := max(c.at, off), min(c.at+int64(len(c.data)), off+int64(n)); lo < hi {
			copy(b[lo-off:hi-off], c.data[lo-c.at:hi-c.at])
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// places lists the sectors of a volume that hold structure: the boot sector,
// MFT records, index blocks, $LogFile's restart pages, attribute lists, and
// compressed data.
func places(t testing.TB, image []byte) []int64 {
	sectors := []int64{0}
	for at := 0; at < len(image); at += stride {
		switch string(image[at : at+4]) {
		case "FILE":
			sectors = append(sectors, int64(at), int64(at+stride))
		case "INDX", "RSTR":
			for i := range 8 {
				sectors = append(sectors, int64(at+i*stride))
			}
		}
	}
	v := open(t, image)
	err := walk(v, func(_ string, e Entry) error {
		rec, err := v.record(reference(e.Ref))
		if err != nil {
			return err
		}
		for i, a := range rec.attributes {
			if !a.nonResident || a.typ != typeAttributeList && a.flags&flagLZNT1 == 0 && a.name != wof.StreamName {
				continue
			}
			s, err := v.newStream(rec.number, &rec.attributes[i])
			if err != nil {
				return err
			}
			for _, r := range s.runs {
				for c := range r.length {
					if r.lcn != hole {
						sectors = append(sectors, (r.lcn+c)*v.clusterSize)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sectors
}

// FuzzVolume opens a volume with bytes changed, and uses everything on it. The
// input is a byte that selects the volume, and patches: place (2 bytes), offset
// there (2 bytes), length (1 byte) and data.
func FuzzVolume(f *testing.F) {
	bases := [][]byte{unpack(f, windowsVolume), unpack(f, featuresVolume)}
	sectors := [][]int64{places(f, bases[0]), places(f, bases[1])}
	seed := func(base byte, patches ...patch) {
		b := []byte{base}
		for _, p := range patches {
			for i, at := range sectors[base] {
				if p.at >= at && p.at < at+stride {
					b = binary.LittleEndian.AppendUint16(b, uint16(i))
					b = binary.LittleEndian.AppendUint16(b, uint16(p.at-at))
					b = append(append(b, byte(len(p.data))), p.data...)
					break
				}
			}
		}
		f.Add(b)
	}
	seed(0)
	seed(1)
	for base := range byte(2) {
		seed(base, patch{0x0d, []byte{0xf8}})
		seed(base, patch{0x28, []byte{0xff, 0xff}})
		mft := int64(binary.LittleEndian.Uint64(bases[base][0x30:])) * open(f, bases[base]).clusterSize
		for _, record := range []int64{0, 3, 5, 10, 64, 65, 66, 70, 130, 131} {
			at := mft + record*1024
			seed(base, patch{at + 0x14, []byte{0xff}})
			seed(base, patch{at + 0x20, []byte{5}})
			seed(base, patch{at + 0xf0, []byte{0xff, 0xff, 0xff, 0x7f}}, patch{at + 0x130, bytes.Repeat([]byte{0x11}, 16)})
		}
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) == 0 {
			return
		}
		base := input[0] & 1
		p := &patched{base: bases[base]}
		for input = input[1:]; len(input) > 5 && len(p.patches) < 16; {
			place := sectors[base][int(binary.LittleEndian.Uint16(input))%len(sectors[base])]
			at := place + int64(binary.LittleEndian.Uint16(input[2:])%stride)
			n := min(int(input[4]), len(input)-5)
			p.patches = append(p.patches, patch{at, input[5 : 5+n]})
			input = input[5+n:]
		}
		exercise(t, p)
	})
}

// exercise uses a volume of unknown contents in every way that there is, and
// checks what holds for any: errors are of a kind that callers know, extents lie
// on the volume, loops end.
func exercise(t *testing.T, p *patched) {
	size := int64(len(p.base))
	known := func(what string, err error) {
		for _, kind := range []error{nil, ErrNotNTFS, ErrCorrupt, ErrNotFound, ErrNotEditable, ErrUnsupported} {
			if errors.Is(err, kind) {
				return
			}
		}
		t.Errorf("%s: %v", what, err)
	}
	v, err := Open(p, size)
	known("Open", err)
	if err != nil {
		return
	}
	_, err = v.LogFileClean()
	known("LogFileClean", err)
	_, err = v.Hibernated()
	known("Hibernated", err)
	end := int64(-1)
	for r, err := range v.FreeSpace() {
		known("FreeSpace", err)
		if err == nil && (r.Offset <= end || r.Length <= 0 || r.Offset+r.Length > v.state.TotalBytes) {
			t.Fatalf("free %+v behind %d on a volume of %d bytes", r, end, v.state.TotalBytes)
		}
		end = r.Offset + r.Length
	}
	entries := 0
	err = walk(v, func(path string, e Entry) error {
		if entries++; entries > 20_000 {
			t.Fatalf("%s: the walk of a volume of %d bytes does not end", path, size)
		}
		_, err := v.Stat(path)
		known("Stat", err)
		file, err := v.Open(path)
		known("Open", err)
		if err != nil {
			return nil
		}
		_, err = io.Copy(io.Discard, io.NewSectionReader(file, 0, min(file.Size(), 256<<10)))
		known("ReadAt", err)
		_, err = file.ReadAt(make([]byte, 4096), max(0, file.Size()-5000))
		if err != io.EOF {
			known("ReadAt", err)
		}
		extents, err := file.Extents()
		known("Extents", err)
		var at int64
		for _, x := range extents {
			if x.FileOffset != at || x.Length <= 0 || x.VolumeOffset < 0 || x.VolumeOffset+x.Length > v.state.TotalBytes {
				t.Fatalf("%s: extent %+v on a volume of %d bytes", path, x, v.state.TotalBytes)
			}
			at += x.Length
		}
		if err == nil && at != file.stream.initialized {
			t.Fatalf("%s: extents of %d bytes, want %d", path, at, file.stream.initialized)
		}
		return nil
	})
	known("walk", err)
}

// FuzzDecompress holds LZNT1 to its output: no panic, nothing behind it.
func FuzzDecompress(f *testing.F) {
	f.Add([]byte("\x03\xb0\x02a\xfc\x0f\x00\x00"))
	f.Add([]byte("\x02\x30abc"))
	f.Add([]byte("\xff\xbf\x00a"))
	f.Fuzz(func(t *testing.T, src []byte) {
		dst := make([]byte, 16*chunkSize+1)
		if err := decompress(dst[:16*chunkSize], src); err == nil && dst[16*chunkSize] != 0 {
			t.Error("wrote beyond the unit")
		}
	})
}
