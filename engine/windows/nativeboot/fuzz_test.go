package nativeboot

import (
	"encoding/binary"
	"errors"
	"testing"

	"imageport/engine/disk/overlay"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/offline"
	"imageport/job"
	"imageport/testkit/winimage/windisk"
)

// FuzzSystem damages the SYSTEM hive of a Windows that has something to fix for
// XenServer. A patch is an offset from its first bin, in units of 2 bytes, and
// what is put there. It is refused, or fixed up so that it needs nothing more.
func FuzzSystem(f *testing.F) {
	root := &hive.Key{Name: "ROOT"}
	root.Create("Select").Set(hive.DWORD("Default", 1))
	for _, id := range []string{"VEN_5853&DEV_0001", "CC_0106"} {
		root.Create("DriverDatabase", "DeviceIds", "PCI", id)
	}
	for _, set := range []string{"ControlSet001", "ControlSet002"} {
		for _, name := range []string{"xenbus", "xenvbd", "xenfilt", "storahci"} {
			k := root.Create(set, "Services", name)
			k.Set(hive.DWORD("Type", 1)).Set(hive.DWORD("Start", 3)).Set(hive.ExpandSZ("ImagePath", `System32\drivers\storahci.sys`))
			k.Create("StartOverride").Set(hive.DWORD("0", 3)).Set(hive.Bytes("1", make([]byte, 30)))
		}
		root.Key(set, "Services", "xenbus").Set(hive.DWORD("Count", 0))
		root.Create(set, "Services", "xenfilt", "Parameters").Set(hive.SZ("ActiveDeviceID", "PCI"))
		root.Create(set, "Services", "XEN", "Unplug").Set(hive.DWORD("DISKS", 1))
	}
	built, err := hive.Build(root, hive.BuildOptions{FileName: "SYSTEM", FreeBytes: 100})
	if err != nil {
		f.Fatal(err)
	}
	img, d := windisk.Cached(f, small())
	c := windisk.Windows(f, img)
	stored := windisk.File(f, d, c, offline.PathSystem)
	system, err := windisk.Volume(f, d, c).Open(offline.PathSystem)
	if err != nil {
		f.Fatal(err)
	}
	extents, err := system.Extents()
	if err != nil || extents[0].Length < int64(len(built)) {
		f.Fatalf("the hive is in %v, %v", extents, err)
	}
	at := c.StartBytes + extents[0].VolumeOffset
	const firstBin = 4096
	for off := 0; off < len(built)-firstBin; off += 34 {
		f.Add(binary.LittleEndian.AppendUint32(nil, uint32(off/2)|uint32(off)<<16))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, patches []byte) {
		b := append([]byte{}, built...)
		for ; len(patches) >= 4; patches = patches[4:] {
			if off := firstBin + 2*int(binary.LittleEndian.Uint16(patches)); off+2 <= len(b) {
				copy(b[off:], patches[2:4])
			}
		}
		binary.LittleEndian.PutUint32(b[508:], sum(b))
		src := overlay.New(d)
		if _, err := src.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
		target := Target{Platform: job.PlatformXenServer, SizeBytes: src.Size()}
		p, err := New(t.Context(), src, target)
		if err != nil {
			if e, ok := errors.AsType[*job.Error](err); !ok || e.Code == job.Internal || e.Remedy == "" {
				t.Fatal(err)
			}
			return
		}
		out := overlay.New(src)
		for _, w := range p.Writes {
			if w.Offset < c.StartBytes || w.Offset+int64(len(w.Data)) > c.StartBytes+c.SizeBytes {
				t.Fatalf("a write of %d bytes at %d", len(w.Data), w.Offset)
			}
			if _, err := out.WriteAt(w.Data, w.Offset); err != nil {
				t.Fatal(err)
			}
		}
		after := windisk.File(t, out, c, offline.PathSystem)
		if len(after) != len(stored) {
			t.Fatalf("%d bytes of %d", len(after), len(stored))
		}
		done, err := New(t.Context(), out, target)
		if err != nil || len(done.FixUps) > 0 || len(done.Writes) > 0 {
			t.Fatalf("there is left to do %+v, %v; done was %q", done, err, brief(p.FixUps))
		}
	})
}
