package bcd

import (
	"bytes"
	"testing"

	"imageport/engine/windows/hive"
)

// FuzzDevice decodes device elements: they must encode to the same bytes, and a
// conversion must leave no partition of the disk's MBR, where it succeeds.
func FuzzDevice(f *testing.F) {
	for _, name := range corpus {
		for _, o := range read(f, corpusFile(f, name)).Objects() {
			for _, e := range o.Elements() {
				if d, ok := o.Device(e); ok {
					f.Add(d.Encode())
				}
			}
		}
	}
	f.Add(RAMDiskDevice(ramdiskID, PartitionDevice(osRef), `\x`).Encode())
	f.Add(PartitionDevice(osRef).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DecodeDevice(b)
		if err != nil {
			return
		}
		if got := d.Encode(); !bytes.Equal(got, b) {
			t.Fatalf("% x becomes % x", b, got)
		}
		_ = d.String()
		s := win10BIOS()
		object(t, s, loaderID).set(ElementOSDevice, hive.Bytes(elementValue, b))
		checkConverted(t, encode(t, s))
	})
}

// FuzzConvert converts damaged stores. A patch is an offset in units of 2 bytes
// and a 16-bit number.
func FuzzConvert(f *testing.F) {
	stores := [][]byte{encode(f, win10BIOS()), corpusFile(f, "win8-bios.BCD"), corpusFile(f, "BCDgen")}
	for i := range stores {
		f.Add(uint8(i), []byte{})
		for at := 0x800; at < len(stores[i])/2; at += 0x333 {
			f.Add(uint8(i), []byte{byte(at), byte(at >> 8), 0x20, 0})
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, patches []byte) {
		b := bytes.Clone(stores[int(which)%len(stores)])
		for ; len(patches) >= 4; patches = patches[4:] {
			at := 2 * (int(patches[0]) | int(patches[1])<<8)
			if at >= 4096 && at+2 <= len(b) { // the base block has a checksum
				copy(b[at:at+2], patches[2:4])
			}
		}
		checkConverted(t, b)
	})
}

func checkConverted(t *testing.T, b []byte) {
	before, _ := Inspect(b)
	files(before.Chain)
	out, rep, err := Convert(b, reuse(), ConvertOptions{})
	if err != nil {
		return
	}
	sum, err := Inspect(out)
	if err != nil {
		t.Fatal("converted, but:", err)
	}
	files(sum.Chain)
	if second, err := Recovery(out, ConvertOptions{}); err != nil {
		t.Fatal("no recovery store:", err)
	} else if n := len(read(t, second).PartitionRefs()); n > len(sum.Partitions) {
		t.Fatalf("%d partitions in the recovery store, %d in the other", n, len(sum.Partitions))
	}
	warned := map[string]bool{}
	for _, w := range rep.Warnings {
		warned[w.Code] = true
	}
	for _, use := range read(t, out).PartitionRefs() {
		if use.Ref.Style == StyleMBR && !warned[WarnOtherDisk] && !warned[WarnNoPartition] {
			t.Fatalf("%s %s still names %s: %v", Name(use.Object), use.Element, use.Ref, rep.Warnings)
		}
	}
}
