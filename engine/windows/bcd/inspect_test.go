package bcd

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/windows/hive"
)

func TestConvertRefuses(t *testing.T) {
	without := func(f func(*Store)) []byte {
		s := win10BIOS()
		f(s)
		return encode(t, s)
	}
	valid := encode(t, win10BIOS())
	dirty := bytes.Clone(valid)
	dirty[4]++
	tests := []struct {
		what string
		b    []byte
		want error
	}{
		{"no hive", []byte("BCD"), ErrCorrupt},
		{"half a hive", valid[:8192], ErrCorrupt},
		{"dirty hive", dirty, hive.ErrDirty},
		{"no objects", without(func(s *Store) { s.root.DeleteKey(objectsKey) }), ErrCorrupt},
		{"no description", without(func(s *Store) { s.root.DeleteKey(descriptionKey) }), ErrCorrupt},
		{"no boot manager", without(func(s *Store) { s.RemoveObject(BootMgr) }), ErrNoDefaultEntry},
		{"no default", without(func(s *Store) { object(t, s, BootMgr).Remove(ElementDefault) }), ErrNoDefaultEntry},
		{"default is no identifier", without(func(s *Store) { object(t, s, BootMgr).set(ElementDefault, hive.SZ(elementValue, "{default}")) }), ErrNoDefaultEntry},
		{"default missing", without(func(s *Store) { s.RemoveObject(loaderID) }), ErrNoDefaultEntry},
		{"default without osdevice", without(func(s *Store) { object(t, s, loaderID).Remove(ElementOSDevice) }), ErrNoDefaultEntry},
		{"default with a short device", without(func(s *Store) {
			object(t, s, loaderID).set(ElementDevice, hive.Bytes(elementValue, []byte{1}))
		}), ErrNoDefaultEntry},
		{"default without path", without(func(s *Store) { object(t, s, loaderID).Remove(ElementPath) }), ErrNoDefaultEntry},
		{"default is Windows XP", without(func(s *Store) { s.AddObject(loaderID, TypeNTLDR) }), ErrNoDefaultEntry},
	}
	for _, tt := range tests {
		_, _, err := Convert(tt.b, reuse(), ConvertOptions{})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, err, tt.want)
		}
		if _, err := Inspect(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: Inspect: %v, want %v", tt.what, err, tt.want)
		}
	}
}

func TestInspect(t *testing.T) {
	sum, err := Inspect(encode(t, win10BIOS()))
	if err != nil {
		t.Fatal(err)
	}
	if sum.Default != loaderID || sum.DefaultDevice != osRef || sum.DefaultKind != KindPartition || sum.IsUEFI ||
		sum.Recovery != recoveryID || sum.RecoveryDevice != recoveryRef || sum.RecoveryKind != KindPartition {
		t.Errorf("%+v", sum)
	}
	nested := 0
	for _, use := range sum.Partitions {
		if use.Nested {
			nested++
		}
	}
	if len(sum.Partitions) != 9 || nested != 2 {
		t.Errorf("%d partitions, %d nested: %v", len(sum.Partitions), nested, sum.Partitions)
	}
	sum, err = Inspect(corpusFile(t, "win10-uefi.BCD"))
	if err != nil || !sum.IsUEFI || sum.DefaultDevice != gptRef {
		t.Errorf("%+v %v", sum, err)
	}
}

// TestConvertedHive checks the file itself.
func TestConvertedHive(t *testing.T) {
	src := encode(t, win10BIOS())
	out, _, err := Convert(src, reuse(), ConvertOptions{Modified: convertTime})
	if err != nil {
		t.Fatal(err)
	}
	h, err := hive.Parse(out)
	if err != nil {
		t.Fatal(err)
	}
	if h.Dirty() || h.Version() != 3 || len(out) > 64<<10 {
		t.Error(h.Dirty(), h.Version(), len(out))
	}
	for path, want := range map[string]time.Time{
		`Description`: convertTime,
		`Objects\` + Braced(BootMgr) + `\Elements\11000001`:   convertTime,
		`Objects\` + Braced(BootMgr) + `\Elements\12000002`:   convertTime,
		`Objects\` + Braced(loaderID) + `\Elements\12000002`:  convertTime,
		`Objects\` + Braced(loaderID) + `\Elements\12000004`:  convertTime.Add(-time.Hour),
		`Objects\` + Braced(ramdiskID) + `\Elements\32000004`: convertTime.Add(-time.Hour),
	} {
		k, err := h.Lookup(path)
		if err != nil || !k.Modified.Equal(want) {
			t.Errorf("%s: %v %v, want %v", path, k.Modified, err, want)
		}
	}
}

func TestNames(t *testing.T) {
	for e, want := range map[string]string{
		ElementDefault.Name(TypeBootMgr):                             "default",
		ElementResumeObject.Name(TypeOSLoader):                       "resumeobject",
		ElementOSDevice.Name(TypeOSLoader):                           "osdevice",
		ElementFileDevice.Name(TypeResume):                           "filedevice",
		ElementFilePath.Name(TypeResume):                             "filepath",
		ElementID(0x46000010).Name(0):                                "46000010",
		Name(BootMgr):                                                "{bootmgr}",
		Name(uuid.MustParse("733B62E5-F608-11EB-825C-C112F60133AB")): "{733b62e5-f608-11eb-825c-c112f60133ab}",
		fmt.Sprint(TypeNTLDR.Legacy(), TypeOSLoader.Legacy()):        "true false",
	} {
		if e != want {
			t.Errorf("%s, want %s", e, want)
		}
	}
}
