package bootcheck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"

	"imageport/testkit/disktest"
)

// FuzzGPT puts the bytes at both ends of a disk, with the right checksums.
func FuzzGPT(f *testing.F) {
	d := base(f, 512)
	head, tail := make([]byte, 34*512), make([]byte, 33*512)
	_, err := d.ReadAt(head, 0)
	must(f, err)
	_, err = d.ReadAt(tail, d.size-33*512)
	must(f, err)
	f.Add(append(head, tail...), false)
	f.Add(make([]byte, 4096), true)
	f.Fuzz(func(t *testing.T, data []byte, large bool) {
		sector := 512
		if large {
			sector = 4096
		}
		b := append(bytes.Clone(data), make([]byte, (sector-len(data)%sector)%sector)...)
		le := binary.LittleEndian
		for _, at := range []int{sector, len(b) - sector} {
			if at < 0 || at+512 > len(b) {
				continue
			}
			h := b[at:]
			first, size := le.Uint64(h[72:])*uint64(sector), uint64(le.Uint32(h[80:]))*uint64(le.Uint32(h[84:]))
			if first < uint64(len(b)) && size <= uint64(len(b))-first {
				le.PutUint32(h[88:], crc32.ChecksumIEEE(b[first:first+size]))
			}
			le.PutUint32(h[16:], 0)
			le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:min(92, len(h))]))
		}
		disk := disktest.Bytes(b, sector)
		wrongOrNil(t, checkMBR(disk))
		table, err := readTable(disk)
		wrongOrNil(t, err)
		if err != nil {
			return
		}
		for _, p := range table.partitions {
			if r := section(disk, p); r.Size() <= 0 || int64(p.LastLBA+1)*int64(sector) > disk.Size() {
				t.Errorf("%+v is not on the disk", p)
			}
		}
	})
}

// smallFAT is a volume of as few clusters as FAT32 has, of which only the
// beginning is not zero.
type smallFAT struct {
	head []byte
	size int64
}

func (s smallFAT) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(s.head)) {
		copy(p, s.head[off:])
	}
	if off+int64(len(p)) > s.size {
		return int(max(0, s.size-off)), io.EOF
	}
	return len(p), nil
}

// FuzzFAT has the reserved sectors, the beginnings of both FATs and the first
// clusters of a volume as its bytes.
func FuzzFAT(f *testing.F) {
	d := base(f, 512)
	p := d.partitions[2]
	r := section(d, p)
	v, err := readVolume(f.Context(), r, r.Size(), 512)
	must(f, err)
	const reserved, entries = 32 * 512, 1024
	seed := make([]byte, reserved+entries*4+40*512)
	must(f, readAt(r, seed[:reserved], 0, ""))
	must(f, readAt(r, seed[reserved:][:entries*4], v.fatAt, ""))
	must(f, readAt(r, seed[reserved+entries*4:], v.dataAt, ""))
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < reserved+entries*4 {
			return
		}
		head := make([]byte, v.dataAt+int64(len(data)-reserved-entries*4))
		copy(head, data[:reserved])
		for i := range int64(2) {
			copy(head[v.fatAt+i*v.fatBytes:], data[reserved:][:entries*4])
		}
		copy(head[v.dataAt:], data[reserved+entries*4:])
		copy(head[6*512:], head[:512])
		got, err := readVolume(t.Context(), smallFAT{head, r.Size()}, r.Size(), 512)
		wrongOrNil(t, err)
		if err != nil {
			return
		}
		total := int64(0)
		for _, e := range got.entries {
			if e.dir {
				continue
			}
			total += e.size
			if err := readAt(got.contents(e), make([]byte, 1), max(0, e.size-1), e.path); e.size > 0 && err != nil {
				t.Errorf("%s: %v", e.path, err)
			}
		}
		if total > r.Size() {
			t.Errorf("files of %d bytes on a volume of %d", total, r.Size())
		}
	})
}

// FuzzHive reads a hive as a boot configuration store, with the right checksum.
func FuzzHive(f *testing.F) {
	for _, b := range genuineHives(f) {
		f.Add(b)
	}
	f.Add(systemHive(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := bytes.Clone(data)
		if len(b) >= binAlign {
			binary.LittleEndian.PutUint32(b[508:], baseChecksum(b))
		}
		h, err := readHive(t.Context(), bytes.NewReader(b), int64(len(b)), "hive")
		wrongOrNil(t, err)
		if err != nil {
			return
		}
		if k, ok, err := h.find("MountedDevices"); ok {
			for _, err := range k.values() {
				wrongOrNil(t, err)
			}
		} else {
			wrongOrNil(t, err)
		}
		s, err := readStore(h)
		wrongOrNil(t, err)
		if err != nil {
			return
		}
		for _, o := range s.order {
			_ = o.title()
			for _, e := range o.elements {
				o.list(e.id)
				d, _ := parseDevice(e.data)
				_ = d.String()
				mbrPartitions(e.data)
			}
		}
	})
}

// FuzzDevice decodes a device element: what names an MBR disk is found, however
// deep it is.
func FuzzDevice(f *testing.F) {
	f.Add(mbrDevice(signature, mib))
	f.Add(ramdisk(diskGUID, mbrDevice(signature, mib), `\a.wim`))
	f.Add(ramdisk(diskGUID, ramdisk(diskGUID, bootDevice(), `\a.wim`), `\b.wim`))
	f.Add(locateDevice(elemPath))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, ok := parseDevice(data)
		if !ok {
			return
		}
		_ = d.String()
		for at := &d; at != nil; at = at.inner {
			if at.kind == devicePartition && at.style == styleMBR && len(mbrPartitions(data)) == 0 {
				t.Errorf("%v is not among the MBR partitions", at)
			}
		}
	})
}

func wrongOrNil(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, ErrWrong) {
		t.Fatalf("%v, want one of ErrWrong", err)
	}
}
