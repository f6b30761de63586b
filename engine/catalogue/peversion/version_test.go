package peversion_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/catalogue/peversion"
	"imageport/engine/catalogue/peversion/petest"
)

func english(productVersion string) map[string]map[string]string {
	return map[string]map[string]string{"040904b0": {"ProductVersion": productVersion}}
}

func TestRead(t *testing.T) {
	for _, tc := range []struct {
		name    string
		program petest.Program
		want    peversion.Version
		err     error
	}{
		{
			"all strings",
			petest.Program{Fixed: [4]uint16{1, 2, 3, 4}, Tables: map[string]map[string]string{"040904b0": {
				"CompanyName": "Citrix Systems, Inc.", "ProductName": "Citrix Provisioning", "FileVersion": "7.41.100.1", "ProductVersion": "7.41.100.62",
				"LegalCopyright": "©", "Comments": "",
			}}},
			peversion.Version{CompanyName: "Citrix Systems, Inc.", ProductName: "Citrix Provisioning", FileVersion: "7.41.100.1", ProductVersion: "7.41.100.62", Arch: "x64"}, nil,
		},
		{
			"string before fixed", petest.Program{Fixed: [4]uint16{7, 41, 0, 0}, Tables: english(" 7.41.100.62\n")},
			peversion.Version{ProductVersion: "7.41.100.62", FileVersion: "7.41.0.0", Arch: "x64"}, nil,
		},
		{
			"fixed alone, 32 bit", petest.Program{Machine: petest.MachineX86, Fixed: [4]uint16{7, 41, 100, 62}},
			peversion.Version{ProductVersion: "7.41.100.62", FileVersion: "7.41.100.62", Arch: "x86"}, nil,
		},
		{
			"lengths in bytes", petest.Program{Machine: petest.MachineARM64, ByteLengths: true, Tables: english("7.40")},
			peversion.Version{ProductVersion: "7.40", Arch: "arm64"}, nil,
		},
		{
			"several languages", petest.Program{Tables: map[string]map[string]string{
				"000004b0": {"ProductVersion": "neutral"}, "040704b0": {"ProductVersion": "german"}, "040904e4": {"ProductVersion": "english"},
			}},
			peversion.Version{ProductVersion: "english", Arch: "x64"}, nil,
		},
		{"nothing set", petest.Program{}, peversion.Version{Arch: "x64"}, peversion.ErrNoVersion},
		{"no resources", petest.Program{NoResources: true}, peversion.Version{Arch: "x64"}, peversion.ErrNoVersion},
		{"another machine", petest.Program{Machine: 0x1c4, NoResources: true}, peversion.Version{Arch: "0x01c4"}, peversion.ErrNoVersion},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.program.Overlay = bytes.Repeat([]byte{0x55}, 4096)
			b := tc.program.Build()
			got, err := peversion.Read(bytes.NewReader(b), int64(len(b)))
			if !errors.Is(err, tc.err) || got != tc.want {
				t.Errorf("got %+v, %v; want %+v, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

func TestWhatIsNoProgram(t *testing.T) {
	whole := petest.Installer("7.40", nil)
	edit := func(at int, value byte) []byte {
		b := bytes.Clone(whole)
		b[at] = value
		return b
	}
	for _, tc := range []struct {
		name string
		file []byte
		err  error
		says string
	}{
		{"empty", nil, peversion.ErrNotPE, "ends before the DOS header"},
		{"a package", append([]byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), make([]byte, 1024)...), peversion.ErrNotPE, "at offset 0 there is"},
		{"for DOS", edit(0x80, 'N'), peversion.ErrNotPE, "at offset 0x80"},
		{"header beyond the end", edit(0x3f, 0x7f), peversion.ErrNotPE, "before the PE header at offset 0x7f000080"},
		{"sections", edit(0x87, 1), peversion.ErrNotPE, "257 sections"},
		{"magic", edit(0x98, 0), peversion.ErrNotPE, "begins with 0x200"},
		{"cut off in the resources", whole[:0x240], peversion.ErrCorrupt, "is in no section of the file"},
		{"key of the version", edit(0x200+88+6, 'X'), peversion.ErrCorrupt, "XS_VERSION_INFO"},
		{"data for a directory", edit(0x200+23, 0), peversion.ErrCorrupt, "where a directory must be"},
		{"no version among the types", edit(0x200+16, 3), peversion.ErrNoVersion, "none of the 1 types"},
		{"too many entries", edit(0x200+15, 0xff), peversion.ErrCorrupt, "65281 entries"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := peversion.Read(bytes.NewReader(tc.file), int64(len(tc.file)))
			if !errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v; want %v that says %q", err, tc.err, tc.says)
			}
		})
	}
}

// counting counts what is read.
type counting struct {
	r     io.ReaderAt
	bytes int
}

func (c *counting) ReadAt(b []byte, at int64) (int, error) {
	c.bytes += len(b)
	return c.r.ReadAt(b, at)
}

// TestReadsLittle of an installer with much behind its program.
func TestReadsLittle(t *testing.T) {
	b := petest.Installer("7.41.100.62", nil)
	c := &counting{r: bytes.NewReader(b)}
	v, err := peversion.Read(c, 1<<40)
	if err != nil || v.ProductVersion != "7.41.100.62" || c.bytes > 4096 {
		t.Errorf("%+v, %v: %d bytes read", v, err, c.bytes)
	}
	broken := errors.New("the network is gone")
	if _, err := peversion.Read(failing{broken}, 4096); !errors.Is(err, broken) || errors.Is(err, peversion.ErrNotPE) {
		t.Errorf("got %v for a failed read", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// TestOthersReadTheSame: 7-Zip shows the version resource of a program as a
// file.
func TestOthersReadTheSame(t *testing.T) {
	for _, machine := range []uint16{petest.MachineX64, petest.MachineX86} {
		p := petest.Program{Machine: machine, Fixed: [4]uint16{7, 41, 100, 62}, Tables: english("7.41.100.62 é")}
		path := filepath.Join(t.TempDir(), "setup.exe")
		if err := os.WriteFile(path, p.Build(), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("7zz", "e", "-so", "-tpe", path, ".rsrc/version.txt").Output()
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(out), "\x00", "")
		for _, want := range []string{"7,41,100,62", `"ProductVersion"`, `"7.41.100.62`} {
			if !strings.Contains(text, want) {
				t.Errorf("%#x: 7zz does not see %s:\n%s", machine, want, text)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(petest.Installer("7.41.100.62", []byte("overlay")))
	f.Add(petest.Program{Machine: petest.MachineX86, Fixed: [4]uint16{1, 2, 3, 4}, Tables: english("x")}.Build())
	f.Add(petest.Program{NoResources: true}.Build())
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &counting{r: bytes.NewReader(b)}
		v, err := peversion.Read(c, int64(len(b)))
		if err == nil && v.ProductVersion == "" {
			t.Errorf("no version, and no error: %+v", v)
		}
		if err != nil && !errors.Is(err, peversion.ErrNotPE) && !errors.Is(err, peversion.ErrNoVersion) && !errors.Is(err, peversion.ErrCorrupt) {
			t.Errorf("not one of the sentinels: %v", err)
		}
		if c.bytes > 256<<10 {
			t.Errorf("%d bytes read", c.bytes)
		}
		if len(b) > 0x40 && binary.LittleEndian.Uint16(b) != 0x5a4d && err == nil {
			t.Errorf("not MZ, and a version: %+v", v)
		}
	})
}
