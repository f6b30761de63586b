package ntfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// encodeRuns is the inverse of runList.decode, with numbers of four bytes.
func encodeRuns(runs runList) []byte {
	var b []byte
	var lcn int64
	for _, r := range runs {
		b = append(b, 0x44)
		b = binary.LittleEndian.AppendUint32(b, uint32(r.length))
		b = binary.LittleEndian.AppendUint32(b, uint32(r.lcn-lcn))
		lcn = r.lcn
	}
	return append(b, make([]byte, 8-len(b)%8)...)
}

// splitMFT moves the run list of $MFT, but for its first runs, to extension
// records, as Windows does when record 0 is full.
func splitMFT(t *testing.T, image []byte, first, each int, extensions ...uint64) {
	t.Helper()
	v := open(t, image)
	runs, sequence := v.mft.runs, uint64(1)
	pieces := []runList{runs[:first]}
	for i := range extensions {
		end := min(len(runs), first+(i+1)*each)
		if i == len(extensions)-1 {
			end = len(runs)
		}
		pieces = append(pieces, runs[first+i*each:end])
	}
	nonResident := func(from []byte, runs runList, id uint16) []byte {
		b := append(append([]byte(nil), from[:0x40]...), encodeRuns(runs)...)
		binary.LittleEndian.PutUint32(b[4:], uint32(len(b)))
		binary.LittleEndian.PutUint16(b[0x0e:], id)
		binary.LittleEndian.PutUint64(b[0x10:], uint64(runs[0].vcn))
		binary.LittleEndian.PutUint64(b[0x18:], uint64(runs.clusters()-1))
		binary.LittleEndian.PutUint16(b[0x20:], 0x40)
		if runs[0].vcn != 0 {
			clear(b[0x28:0x40])
		}
		return b
	}
	entry := func(typ uint32, vcn int64, record uint64, id uint16) []byte {
		b := make([]byte, 0x20)
		binary.LittleEndian.PutUint32(b, typ)
		binary.LittleEndian.PutUint16(b[4:], 0x20)
		b[7] = 0x1a
		binary.LittleEndian.PutUint64(b[8:], uint64(vcn))
		binary.LittleEndian.PutUint64(b[0x10:], record|sequence<<48)
		binary.LittleEndian.PutUint16(b[0x18:], id)
		return b
	}
	finish := func(b []byte, attributes ...[]byte) {
		at := int(binary.LittleEndian.Uint16(b[0x14:]))
		clear(b[at:])
		for _, a := range attributes {
			at += copy(b[at:], a)
		}
		binary.LittleEndian.PutUint32(b[at:], typeEnd)
		binary.LittleEndian.PutUint32(b[0x18:], uint32(at+8))
		binary.LittleEndian.PutUint16(b[0x28:], 50)
	}
	var data []byte
	editRecord(t, image, recordMFT, func(b []byte) {
		get := func(typ uint32) []byte { return append([]byte(nil), rawAttribute(t, b, typ)...) }
		id := func(a []byte) uint16 { return binary.LittleEndian.Uint16(a[0x0e:]) }
		info, name, bitmap := get(typeStandardInformation), get(typeFileName), get(typeBitmap)
		data = get(typeData)
		list := make([]byte, 0x18)
		for _, e := range [][]byte{
			entry(typeStandardInformation, 0, recordMFT, id(info)),
			entry(typeFileName, 0, recordMFT, id(name)),
			entry(typeData, 0, recordMFT, id(data)),
		} {
			list = append(list, e...)
		}
		for i, number := range extensions {
			list = append(list, entry(typeData, pieces[i+1][0].vcn, number, 7)...)
		}
		list = append(list, entry(typeBitmap, 0, recordMFT, id(bitmap))...)
		binary.LittleEndian.PutUint32(list, typeAttributeList)
		binary.LittleEndian.PutUint32(list[4:], uint32(len(list)))
		binary.LittleEndian.PutUint16(list[0x0e:], 40)
		binary.LittleEndian.PutUint32(list[0x10:], uint32(len(list)-0x18))
		binary.LittleEndian.PutUint16(list[0x14:], 0x18)
		finish(b, info, list, name, nonResident(data, pieces[0], id(data)), bitmap)
	})
	mirror := int64(binary.LittleEndian.Uint64(image[0x38:])) * v.clusterSize
	copy(image[mirror:mirror+v.recordSize], image[v.mftLCN*v.clusterSize:])
	// Record 0 now needs the extensions: find their places by the old run list.
	for i, number := range extensions {
		pos := int64(number) * v.recordSize
		r := runs[runs.find(pos/v.clusterSize)]
		at := r.lcn*v.clusterSize + pos - r.vcn*v.clusterSize
		editProtected(t, image[at:at+v.recordSize], func(b []byte) {
			binary.LittleEndian.PutUint16(b[0x10:], uint16(sequence))
			binary.LittleEndian.PutUint16(b[0x16:], recordInUse)
			binary.LittleEndian.PutUint64(b[0x20:], recordMFT|sequence<<48)
			finish(b, nonResident(data, pieces[i+1], 7))
		})
	}
}

func TestFragmentedMFT(t *testing.T) {
	t.Parallel()
	path := format(t, 3<<20, "-c", "1024")
	var w tree
	mounted(t, path, "", func(root string) {
		// With single clusters free, $MFT grows by single clusters.
		w = punch(t, root, 1024, false)
		small := tree{}
		for i := range 90 {
			small[fmt.Sprintf("small %d", i)] = fmt.Append(nil, i)
		}
		small.write(t, root)
		maps.Copy(w, small)
	})
	v, image := readImage(t, path)
	if len(v.mft.runs) < 40 {
		t.Fatalf("%d runs of $MFT; the test wants dozens", len(v.mft.runs))
	}
	w.check(t, v, image)

	original := append([]byte(nil), image...)
	splitMFT(t, image, 2, 20, 16, 17)
	// The test's own surgery is right if another reader finds every file.
	split := filepath.Join(t.TempDir(), "split.img")
	if err := os.WriteFile(split, image, 0o600); err != nil {
		t.Fatal(err)
	}
	if names := strings.Count(runTool(t, "ntfsls", "-f", split), "\n"); names != len(w) {
		t.Fatalf("ntfsls finds %d files, want %d", names, len(w))
	}
	v = open(t, image)
	rec, err := v.record(recordMFT)
	if err != nil {
		t.Fatal(err)
	}
	if parts := rec.parts(typeData, ""); len(parts) != 3 {
		t.Fatalf("%d parts of $MFT, want 3", len(parts))
	}
	w.check(t, v, image)

	t.Run("extension out of reach", func(t *testing.T) {
		// An extension in a record that only it could locate.
		number := uint64(v.recordCount() - 1)
		image := append([]byte(nil), original...)
		splitMFT(t, image, 2, 20, number)
		_, err := Open(bytes.NewReader(image), int64(len(image)))
		wantCorrupt(t, err, "MFT record 0", "$ATTRIBUTE_LIST", fmt.Sprint("MFT record ", number))
	})
}
