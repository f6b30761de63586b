package bcd

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/windows/hive"
)

// valuesOf lists the data of all values of a store, by where they are.
func valuesOf(s *Store) map[string]string {
	m := map[string]string{}
	var walk func(k *hive.Key, path string)
	walk = func(k *hive.Key, path string) {
		m[path] = fmt.Sprintf("% x", k.Security)
		for _, v := range k.Values {
			m[path+" "+v.Name] = fmt.Sprintf("type %d, % x", v.Type, v.Data)
		}
		for _, sub := range k.Subkeys {
			walk(sub, path+`\`+strings.ToLower(sub.Name))
		}
	}
	walk(s.root, "")
	return m
}

// TestConvertKeeps checks that everything that the report does not list is byte
// for byte what it was: elements that this package does not know, too.
func TestConvertKeeps(t *testing.T) {
	second, resume2, firmware, program := GUID{2}, GUID{3}, GUID{4}, GUID{6}
	odd := win10BIOS()
	manager := object(t, odd, BootMgr)
	manager.SetString(ElementLocale, "de-DE")
	manager.SetObjectList(ElementDisplayOrder, second, loaderID)
	manager.SetObjectList(ElementBootSequence, second)
	manager.SetObject(0x54000001, second) // custom, of a vendor
	manager.set(0x5f000002, hive.Bytes(elementValue, []byte{1, 2, 3}))
	loader := object(t, odd, loaderID)
	loader.SetString(ElementLocale, "tr-TR")
	loader.SetString(0x12000030, "/SOS /DEBUG") // loadoptions
	loader.SetBool(0x16000010, true)
	loader.set(0x17000099, hive.Bytes(elementValue, []byte{}))
	loader.set(0x1200009a, hive.DWORD(elementValue, 7)) // not as its format says
	other := odd.AddObject(second, TypeOSLoader)
	other.SetDevice(ElementDevice, PartitionDevice(recoveryRef))
	other.SetString(ElementPath, `\Windows\system32\winload.exe`)
	other.SetString(ElementDescription, "Windows 7 – zweites")
	other.SetDevice(ElementOSDevice, PartitionDevice(recoveryRef))
	other.SetObject(ElementResumeObject, resume2)
	odd.AddObject(resume2, TypeResume).SetString(ElementPath, `\Windows\system32\winresume.exe`)
	odd.AddObject(FWBootMgr, TypeFirmwareBootMgr).SetObjectList(ElementDisplayOrder, BootMgr, firmware)
	odd.AddObject(firmware, TypeFirmwareApp).SetString(ElementDescription, "PXE")
	odd.AddObject(program, 0x10200000).SetString(ElementPath, `\tool.efi`)
	odd.AddObject(GUID{7}, 0x20300000)
	odd.root.Create("Elsewhere", "deep").Set(hive.SZ("x", "y"))
	odd.root.Key(objectsKey).Create("no identifier")

	win8 := Mapping{
		Signature: 0x3ee7c, DiskGUID: diskGUID, ESP: espGUID, OS: osGUID,
		Partitions: map[uint64]GUID{0x124f900000: osGUID}, SystemOffset: 0x124f900000,
	}
	for _, tt := range []struct {
		what string
		src  []byte
		m    Mapping
		more []string // edits of these objects, besides those of a plain conversion
	}{
		{"Windows 10", encode(t, win10BIOS()), reuse(), nil},
		{"a real Windows 8.1", corpusFile(t, "win8-bios.BCD"), win8, nil},
		{"two systems, firmware entries and custom elements", encode(t, odd), reuse(),
			[]string{Braced(second) + " device", Braced(second) + " osdevice", Braced(second) + " path", Braced(second) + " isolatedcontext", Braced(resume2) + " path", Braced(resume2) + " isolatedcontext"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			s, rep := convert(t, tt.src, tt.m)
			if len(rep.Warnings) > 0 {
				t.Error(rep.Warnings)
			}
			edited := map[string]bool{}
			for _, e := range rep.Edits {
				edited[e.Object+" "+e.Element] = true
			}
			for _, e := range tt.more {
				if !edited[e] {
					t.Errorf("%s was not converted", e)
				}
			}
			// reported tells whether a key or value is one that the report lists.
			reported := func(path string) bool {
				part := strings.Split(path, `\`)
				if strings.HasPrefix(path, `\description `) {
					return edited["Description "+strings.TrimPrefix(path, `\description `)]
				}
				if len(part) < 5 {
					return false
				}
				id, err := parseBraced(part[2])
				if err != nil {
					return false
				}
				var e ElementID
				if _, err := fmt.Sscanf(part[4], "%08x", &e); err != nil {
					return false
				}
				o, _ := s.Object(id)
				return edited[Name(id)+" "+e.Name(o.Type)]
			}
			before, after := valuesOf(read(t, tt.src)), valuesOf(s)
			for path, v := range before {
				if got, ok := after[path]; (!ok || got != v) && !reported(path) {
					t.Errorf("%s was %s, is %s", path, v, got)
				}
			}
			for path := range after {
				if _, ok := before[path]; !ok && !reported(path) {
					t.Errorf("%s is new", path)
				}
			}
		})
	}
}

// TestConvertLocated converts the store of a generalised image, in which no entry
// names a partition: what is looked for is looked for by EFI name.
func TestConvertLocated(t *testing.T) {
	src := win10BIOS()
	for _, o := range src.Objects() {
		for _, e := range o.Elements() {
			d, ok := o.Device(e)
			if !ok {
				continue
			}
			at := LocateDevice(ElementPath)
			switch {
			case e == ElementOSDevice:
				at = LocateDevice(ElementSystemRoot)
			case e == ElementSDIDevice:
				at = LocateDevice(ElementSDIPath)
			}
			if d.Kind == KindRAMDisk {
				at = RAMDiskDevice(d.Options, at, d.Path)
			}
			o.SetDevice(e, at)
		}
	}
	m := reuse()
	m.Partitions = nil
	s, rep := convert(t, encode(t, src), m)
	checkUEFI(t, s)
	if len(rep.Warnings) > 0 {
		t.Error(rep.Warnings)
	}
	uses := s.PartitionRefs()
	if len(uses) != 2 || !slices.ContainsFunc(uses, func(u PartitionUse) bool { return u.Object == BootMgr && u.Ref == espGPT }) ||
		!slices.ContainsFunc(uses, func(u PartitionUse) bool { return u.Object == MemDiag && u.Ref == espGPT }) {
		t.Error(uses)
	}
	for _, id := range []uuid.UUID{loaderID, resumeID, recoveryID, ramdiskID} {
		was, is := object(t, src, id), object(t, s, id)
		for _, e := range was.Elements() {
			if before, ok := was.Device(e); ok {
				if after, _ := is.Device(e); !bytes.Equal(before.Encode(), after.Encode()) {
					t.Errorf("%s %s: %s becomes %s", Name(id), e, before, after)
				}
			}
		}
	}
	sum, err := Inspect(encode(t, s))
	if err != nil || sum.DefaultKind != KindLocate || !sum.IsUEFI {
		t.Errorf("%+v %v", sum, err)
	}
}
