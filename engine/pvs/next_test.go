package pvs

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// store is the folder of several vDisks, with all that PVS leaves there.
var store = []string{
	// two versions on a base
	"win10.vhdx", "win10.pvp", "win10.lok", "win10.1.avhdx", "win10.1.pvp", "win10.2.avhdx", "win10.2.pvp", "win10.2.lok", "win10.xml",
	// a vDisk whose name looks like a version of another
	"win10-2.vhdx", "win10-2.pvp", "win10-2.1.avhdx", "win10-2.1.pvp", "win10-2.xml",
	// version 3 was merged to a new base, after that there was 4, and 5 was deleted
	"Srv2019.vhdx", "Srv2019.pvp", "Srv2019.3.vhdx", "Srv2019.3.pvp", "Srv2019.4.avhdx", "Srv2019.6.avhdx", "Srv2019.XML",
	// never had a version
	"Win7 x64.vhd", "Win7 x64.pvp", "Win7 x64.lok",
	// all merged, the rest removed
	"golden.12.vhdx", "golden.12.pvp", "golden.xml",
	// other things
	"win10.vhdx.imageport-1.partial", "win10.11.avhdx.bak", "readme.txt", "win10.20.txt", "WriteCache",
}

func TestNextVersion(t *testing.T) {
	tests := []struct {
		name  string
		names []string
		input string
		want  Version
	}{
		{"second version", store, "win10.2.avhdx", Version{3, "win10.3.avhdx", "win10.3.pvp", "win10.2.pvp", "win10.xml"}},
		{"in another case", store, "WIN10.2.AVHDX", Version{3, "win10.3.avhdx", "win10.3.pvp", "win10.2.pvp", "win10.xml"}},
		{"similar name", store, "win10-2.1.avhdx", Version{2, "win10-2.2.avhdx", "win10-2.2.pvp", "win10-2.1.pvp", "win10-2.xml"}},
		{"gaps, properties of the merged base", store, "Srv2019.6.avhdx", Version{7, "Srv2019.7.avhdx", "Srv2019.7.pvp", "Srv2019.3.pvp", "Srv2019.XML"}},
		{"base alone, VHD", store, "Win7 x64.vhd", Version{1, "Win7 x64.1.avhd", "Win7 x64.1.pvp", "Win7 x64.pvp", "Win7 x64.xml"}},
		{"merged base alone", store, "golden.12.vhdx", Version{13, "golden.13.avhdx", "golden.13.pvp", "golden.12.pvp", "golden.xml"}},
		{"properties of the base", []string{"a.vhdx", "A.PVP", "a.1.avhdx"}, "a.1.avhdx", Version{2, "a.2.avhdx", "a.2.pvp", "A.PVP", "a.xml"}},
		{"properties of a base elsewhere", []string{"a.pvp", "a.1.avhdx"}, "a.1.avhdx", Version{2, "a.2.avhdx", "a.2.pvp", "a.pvp", "a.xml"}},
		{"no properties", []string{"a.vhdx", "b.pvp"}, "a.vhdx", Version{1, "a.1.avhdx", "a.1.pvp", "", "a.xml"}},
		{"VHD that the VHDX came from", []string{"a.vhd", "a.vhdx", "a.1.avhdx", "a.pvp"}, "a.1.avhdx", Version{2, "a.2.avhdx", "a.2.pvp", "a.pvp", "a.xml"}},
		// win10 beside a vDisk that is called win10.1
		{"dotted name, its version", []string{"win10.vhdx", "win10.1.vhdx", "win10.1.5.avhdx"}, "win10.1.5.avhdx", Version{6, "win10.1.6.avhdx", "win10.1.6.pvp", "", "win10.1.xml"}},
		{"dotted name, the short one", []string{"win10.vhdx", "win10.1.vhdx", "win10.1.5.avhdx"}, "win10.vhdx", Version{1, "win10.1.avhdx", "win10.1.pvp", "", "win10.xml"}},
		{"dotted name, its base, known by the manifest", []string{"win10.vhdx", "win10.1.vhdx", "win10.1.pvp", "win10.1.xml"}, "win10.1.vhdx", Version{1, "win10.1.1.avhdx", "win10.1.1.pvp", "win10.1.pvp", "win10.1.xml"}},
		{"merged base, known by the properties", []string{"win10.1.vhdx", "win10.pvp"}, "win10.1.vhdx", Version{2, "win10.2.avhdx", "win10.2.pvp", "win10.pvp", "win10.xml"}},
		{"not in the listing", nil, "a.9.avhd", Version{10, "a.10.avhd", "a.10.pvp", "", "a.xml"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := NextVersion(tt.names, tt.input)
			if err != nil || got != tt.want {
				t.Errorf("%+v, %v", got, err)
			}
			back := slices.Clone(tt.names)
			slices.Reverse(back)
			if again, err := NextVersion(back, tt.input); err != nil || again != tt.want {
				t.Errorf("listed the other way round: %+v, %v", again, err)
			}
		})
	}
}

func TestNextVersionRefused(t *testing.T) {
	tests := []struct {
		name  string
		names []string
		input string
		err   error
		says  string
	}{
		{"base", store, "win10.vhdx", ErrNotLatest, "the latest is version 2, win10.2.avhdx"},
		{"in the middle", store, "win10.1.avhdx", ErrNotLatest, "win10.1.avhdx is version 1 of win10, the latest is version 2, win10.2.avhdx"},
		{"merged base with a child", store, "srv2019.3.vhdx", ErrNotLatest, "the latest is version 6, Srv2019.6.avhdx"},
		{"latest is in the other container", []string{"a.vhd", "a.vhdx", "a.1.avhd"}, "a.vhdx", ErrNotLatest, "a.1.avhd"},
		{"both containers", []string{"a.vhd", "a.vhdx"}, "a.vhdx", ErrName, "a.vhdx and a.vhd both are version 0"},
		{"version and merged base", []string{"a.3.avhdx", "a.3.vhdx"}, "a.3.avhdx", ErrName, "both are version 3"},
		{"dotted name or merged base", []string{"a.1.vhdx", "a.1.pvp", "b.vhdx"}, "a.1.vhdx", ErrName, "may be version 1 of a or the base of a.1"},
		{"differencing disk, no version", store, "win10-uefi.avhdx", ErrName, `"win10-uefi.avhdx"`},
		{"no disk", store, "win10.xml", ErrName, `"win10.xml"`},
		{"not ASCII", []string{"Büro.vhdx"}, "Büro.vhdx", ErrName, `'ü'`},
		{"long", nil, strings.Repeat("x", 53) + ".vhdx", ErrName, "53 characters"},
		{"no number left", nil, "a.999999999.avhdx", ErrName, "no version after"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := NextVersion(tt.names, tt.input)
			if !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	if _, err := NextVersion(nil, strings.Repeat("x", 52)+".vhdx"); err != nil {
		t.Error(err)
	}
}
