package pvstarget

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"testing"

	"imageport/engine/windows/hive"
	"imageport/engine/windows/offline"
	"imageport/job"
)

// FuzzRegistry damages the hives of a Windows that has the software. A patch is
// which hive (its lowest bit), an offset from the first bin, in units of 2 bytes,
// and what is put there. What is told of it is bounded, and every error has a code.
func FuzzRegistry(f *testing.F) {
	r := installed(f, "7.33.0.100")
	r.install(otherCode, name, "7.40")
	r.list(path32Bit, "InstallShield_"+code, hive.SZ("DisplayName", name))
	r.system.Create(`ControlSet001\Enum\PCI\VEN_8086&DEV_100F\0`).Set(hive.SZ("ClassGUID", classNet))
	r.system.Key(`ControlSet001\Control\Session Manager`).Set(hive.MultiSZ("PendingFileRenameOperations", "a"))
	built := [2][]byte{build(f, r.system), build(f, r.software)}
	const firstBin = 4096
	for i, b := range built {
		for off := 0; off < len(b)-firstBin; off += 62 {
			f.Add(binary.LittleEndian.AppendUint16([]byte{byte(i), byte(off / 2), byte(off / 512)}, uint16(off)))
		}
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, patches []byte) {
		var hives [2]*offline.Hive
		damaged := [2][]byte{append([]byte{}, built[0]...), append([]byte{}, built[1]...)}
		for ; len(patches) >= 5; patches = patches[5:] {
			b := damaged[patches[0]&1]
			if off := firstBin + 2*int(binary.LittleEndian.Uint16(patches[1:])); off+2 <= len(b) {
				copy(b[off:], patches[3:5])
			}
		}
		for i, b := range damaged {
			h, err := hive.Parse(b)
			if err != nil {
				return
			}
			hives[i] = &offline.Hive{Hive: h, Place: "the hive"}
		}
		facts, err := read(t.Context(), hives[0], hives[1], r.files, Options{Services: []string{"x"}, Files: []string{`C:\x`}})
		if err != nil {
			if e, ok := errors.AsType[*job.Error](err); !ok || e.Code != job.HiveCorrupt || e.Remedy == "" {
				t.Fatal(err)
			}
			return
		}
		encoded, err := json.Marshal(facts)
		if err != nil || len(encoded) > 64<<10 {
			t.Fatalf("%d bytes of JSON, %v", len(encoded), err)
		}
		if err := Refuse(facts); err != nil {
			if e, ok := errors.AsType[*job.Error](err); !ok || e.Remedy == "" {
				t.Fatal(err)
			}
		}
		Verify(facts, Want{ProductVersion: facts.Version, Services: []string{"x"}})
	})
}
