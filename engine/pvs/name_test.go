package pvs

import (
	"errors"
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	tests := []struct {
		file  string
		want  Name
		props string
		lock  string
		xml   string
	}{
		{"win10.vhdx", Name{Disk: "win10"}, "win10.pvp", "win10.lok", "win10.xml"},
		{"win10.3.avhdx", Name{Disk: "win10", Number: 3, Differencing: true}, "win10.3.pvp", "win10.3.lok", "win10.xml"},
		{"win10.5.vhdx", Name{Disk: "win10", Number: 5}, "win10.5.pvp", "win10.5.lok", "win10.xml"},
		{"Win 7 (x64).VHD", Name{Disk: "Win 7 (x64)", Container: VHD}, "Win 7 (x64).pvp", "Win 7 (x64).lok", "Win 7 (x64).xml"},
		{"WIN7.12.AVHD", Name{Disk: "WIN7", Number: 12, Differencing: true, Container: VHD}, "WIN7.12.pvp", "WIN7.12.lok", "WIN7.xml"},
		{"win10.1.5.avhdx", Name{Disk: "win10.1", Number: 5, Differencing: true}, "win10.1.5.pvp", "win10.1.5.lok", "win10.1.xml"},
		{"win10-2.1.avhdx", Name{Disk: "win10-2", Number: 1, Differencing: true}, "win10-2.1.pvp", "win10-2.1.lok", "win10-2.xml"},
		// Numbers that PVS does not write belong to the name.
		{"win10.0.vhdx", Name{Disk: "win10.0"}, "win10.0.pvp", "win10.0.lok", "win10.0.xml"},
		{"win10.01.vhdx", Name{Disk: "win10.01"}, "win10.01.pvp", "win10.01.lok", "win10.01.xml"},
		{"win10.+1.vhdx", Name{Disk: "win10.+1"}, "win10.+1.pvp", "win10.+1.lok", "win10.+1.xml"},
		{"win10.99999999999.vhdx", Name{Disk: "win10.99999999999"}, "win10.99999999999.pvp", "win10.99999999999.lok", "win10.99999999999.xml"},
	}
	for _, tt := range tests {
		got, ok := ParseName(tt.file)
		if tt.want.file = tt.file; !ok || got != tt.want {
			t.Errorf("%s: %+v, %v", tt.file, got, ok)
			continue
		}
		if got.File() != tt.file || got.Properties() != tt.props || got.Lock() != tt.lock || got.Manifest() != tt.xml {
			t.Errorf("%s: %s %s %s %s", tt.file, got.File(), got.Properties(), got.Lock(), got.Manifest())
		}
	}
	for _, file := range []string{
		"", "win10", "win10.pvp", "win10.3.pvp", "win10.xml", "win10.3.avhdx.partial", "win10.vmdk", ".vhdx", ".1.avhdx",
		"win10-uefi.avhdx", "win10.0.avhdx", "win10.03.avhdx", "win10.-1.avhdx", "win10.4294967296.avhdx", `C:\store\win10.vhdx`, "win10\n.vhdx", "win10?.vhdx",
	} {
		if got, ok := ParseName(file); ok {
			t.Errorf("%q is taken as %+v", file, got)
		}
	}
}

func TestCheckPath(t *testing.T) {
	const folder = `\\files.example.com\vdisks\win10\` // 34 characters with the separator
	fits := strings.Repeat("x", maxPath-len(folder))
	if err := CheckPath(folder, fits); err != nil {
		t.Error(err)
	}
	if err := CheckPath(strings.TrimSuffix(folder, `\`), fits+"x"); !errors.Is(err, ErrName) || !strings.Contains(err.Error(), "128 characters") {
		t.Error(err)
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"win10.vhdx", "win10.3.avhdx", "win10.5.vhdx", "WIN7.12.AVHD", "win10.01.vhd", "a.1.2.vhd", ".1.avhdx"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, file string) {
		n, ok := ParseName(file)
		if !ok {
			return
		}
		if n.File() != file {
			t.Errorf("%q became %q", file, n.File())
		}
		// The canonical name says the same.
		m := n
		m.file = ""
		again, ok := ParseName(m.File())
		if again.file = ""; !ok || again != m {
			t.Errorf("%q: %+v, again %+v", file, m, again)
		}
		if fold(m.File()) != fold(file) {
			t.Errorf("%q is written %q", file, m.File())
		}
		v, err := NextVersion([]string{file}, file)
		if err != nil {
			return
		}
		if next, err := NextVersion([]string{file, v.File}, v.File); err == nil && next.Number != v.Number+1 {
			t.Errorf("after %s comes %s", v.File, next.File)
		}
	})
}
