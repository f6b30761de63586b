package winimage

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"imageport/engine/disk/vhdx"
)

// What other tools find on disks that have what an ordinary one has not.
func TestBuildMore(t *testing.T) {
	base := Spec{SizeBytes: 256 * mib, SystemReservedMiB: 20, BootFiles: SmallBootFiles}
	for name, test := range map[string]struct {
		change func(*Spec)
		check  func(t *testing.T, image Image)
	}{
		"logical partitions": {func(s *Spec) {
			s.Data = []Data{{Letter: "E", MiB: 16, Logical: true}, {Letter: "D", MiB: 8}}
			s.RecoveryMiB, s.RecoveryLogical, s.ToLastSector = 20, true, true
		}, func(t *testing.T, image Image) {
			out, _ := tool(t, "sgdisk", "-p", image.Path)
			for _, p := range image.Partitions {
				want := fmt.Sprintf(`\b%d +%d +%d `, p.Number, p.StartBytes/512, (p.StartBytes+p.SizeBytes)/512-1)
				if p.Role != Extended && !regexp.MustCompile(want).MatchString(out) {
					t.Errorf("sgdisk -p: no %q in\n%s", want, out)
				}
			}
			system := hiveText(t, filepath.Join(mounted(t, image, Windows), "Windows/System32/config/SYSTEM"))
			for _, letter := range []string{"D", "E"} {
				data, err := os.ReadFile(filepath.Join(mounted(t, image, DataRole(letter)), "drive-letter.txt"))
				if err != nil || string(data) != letter+":" || !strings.Contains(system, `key="\DosDevices\`+letter+`:" value="3sARe`) {
					t.Errorf("%s: %q, %v", letter, data, err)
				}
			}
			if _, err := os.Stat(filepath.Join(mounted(t, image, Recovery), "Recovery/WindowsRE/Winre.wim")); err != nil {
				t.Error(err)
			}
		}},
		"OEM partitions": {func(s *Spec) {
			s.OEM = []OEM{{Type: 0xde, MiB: 20, Content: FAT}, {Type: 0x12, MiB: 8}}
		}, func(t *testing.T, image Image) {
			if out, code := tool(t, "fsck.fat", "-n", volume(t, image, Maker)); code != 0 {
				t.Errorf("fsck.fat: exit %d\n%s", code, out)
			}
		}},
		"sectors of 4096 bytes": {func(s *Spec) { s.SectorSize, s.DirtyNTFS = 4096, true }, func(t *testing.T, image Image) {
			path := volume(t, image, Windows)
			out, code := tool(t, "ntfsinfo", "-m", "-f", path)
			for _, want := range []string{"Sector Size: 4096", "MFT Record Size: 4096", "Volume Flags: 0x0001 DIRTY"} {
				if code != 0 || !strings.Contains(out, want) {
					t.Errorf("ntfsinfo: exit %d, no %s in\n%s", code, want, out)
				}
			}
			data, err := os.ReadFile(path)
			if p, _ := image.Partition(Windows); err != nil || binary.LittleEndian.Uint32(data[28:]) != uint32(p.StartBytes/4096) {
				t.Errorf("boot sector: begins at %d, %v", binary.LittleEndian.Uint32(data[28:]), err)
			}
			checkOwnVHDX(t, image)
		}},
		"short ReAgent.xml": {func(s *Spec) { s.ReAgentResident = true }, func(t *testing.T, image Image) {
			out, code := tool(t, "ntfsinfo", "-F", "/Windows/System32/Recovery/ReAgent.xml", volume(t, image, Windows))
			if code != 0 || !regexp.MustCompile(`\$DATA \(0x80\) .*\n\tResident: \t\t Yes`).MatchString(out) {
				t.Errorf("ntfsinfo: exit %d\n%s", code, out)
			}
		}},
		"boot files of 2023": {func(s *Spec) { s.EFIEX = true }, func(t *testing.T, image Image) {
			boot := filepath.Join(mounted(t, image, Windows), "Windows/Boot")
			old, err := os.ReadFile(filepath.Join(boot, "EFI/bootmgfw.efi"))
			if err != nil {
				t.Fatal(err)
			}
			if data, err := os.ReadFile(filepath.Join(boot, "EFI_EX/bootmgfw_EX.efi")); err != nil || bytes.Equal(data, old) {
				t.Errorf("not another file than that of 2011: %v", err)
			}
			if _, err := os.Stat(filepath.Join(boot, "Fonts_EX/wgl4_boot_EX.ttf")); err != nil {
				t.Error(err)
			}
		}},
		"pieces at the end": {func(s *Spec) { s.UserDataMiB, s.Fragmented = 4, true }, func(t *testing.T, image Image) {
			path := volume(t, image, Windows)
			out, code := tool(t, "ntfscluster", "-F", "/Users/Public/Documents/data.bin", path)
			info, err := os.Stat(path)
			if code != 0 || err != nil {
				t.Fatalf("ntfscluster: exit %d, %v\n%s", code, err, out)
			}
			runs := regexp.MustCompile(`(?m)^ +\d+ +(\d+) +(\d+)$`).FindAllStringSubmatch(out, -1)
			atEnd := int64(0)
			for _, run := range runs {
				lcn, lcnErr := strconv.ParseInt(run[1], 10, 64)
				clusters, err := strconv.ParseInt(run[2], 10, 64)
				if err := errors.Join(lcnErr, err); err != nil {
					t.Fatal(err)
				}
				if lcn*4096 > info.Size()/8*7 {
					atEnd += clusters * 4096
				}
			}
			if len(runs) < 3 || atEnd < mib {
				t.Errorf("%d pieces, %d bytes at the end, in\n%s", len(runs), atEnd, out)
			}
			if out, code := tool(t, "ntfsfix", "--no-action", path); code != 0 {
				t.Errorf("ntfsfix: exit %d\n%s", code, out)
			}
		}},
		"free space as given": {func(s *Spec) { s.WindowsFreeMiB = 30 }, func(t *testing.T, image Image) {
			free, err := freeBytes(mounted(t, image, Windows))
			if err != nil || free > 30*mib || free < 29*mib {
				t.Errorf("%d bytes are free, %v", free, err)
			}
		}},
		"no PVS": {func(s *Spec) { s.NoPVS = true }, func(t *testing.T, image Image) {
			config := filepath.Join(mounted(t, image, Windows), "Windows/System32/config")
			if text := hiveText(t, filepath.Join(config, "SOFTWARE")) + hiveText(t, filepath.Join(config, "SYSTEM")); strings.Contains(text, "Citrix") || strings.Contains(text, "bnistack") {
				t.Error("there are traces of PVS")
			}
		}},
		"PVS": {func(s *Spec) { s.PVSVersion = "7.41.100.62" }, func(t *testing.T, image Image) {
			text := hiveText(t, filepath.Join(mounted(t, image, Windows), "Windows/System32/config/SOFTWARE"))
			if !strings.Contains(text, `key="DisplayVersion" value="7.41.100.62"`) {
				t.Errorf("no version in\n%s", text)
			}
		}},
		"many systems": {func(s *Spec) {
			s.Data = []Data{{Letter: "D", MiB: 16, Windows: true}}
			s.LegacyLoader, s.BootSectorEntry, s.SecondLoader, s.ForeignLoader, s.CustomElements = true, true, true, true, true
		}, func(t *testing.T, image Image) {
			store := hiveText(t, filepath.Join(mounted(t, image, System), "Boot/BCD"))
			for _, object := range []string{objOSLoader, objNTLdr, objBootSector, objSecondLoader, objForeignLoader} {
				if !strings.Contains(store, "<string>"+object+"</string>") || !strings.Contains(store, `<node name="`+object+`"`) {
					t.Errorf("%s is not in the menu, or not there", object)
				}
			}
			if _, err := os.Stat(filepath.Join(mounted(t, image, DataRole("D")), "Windows/System32/config/SYSTEM")); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := base
			test.change(&spec)
			test.check(t, build(t, spec))
		})
	}
}

// checkOwnVHDX checks the VHDX that qemu-img cannot write, with 7zz, and with
// the product's reader as to the sector size, which 7zz does not tell.
func checkOwnVHDX(t *testing.T, image Image) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.vhdx")
	if err := image.VHDX(t.Context(), path, "odd"); err == nil {
		t.Error("odd subformat")
	}
	if err := image.VHDX(t.Context(), path, Dynamic); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	disk, err := vhdx.Open(f, info.Size())
	if err != nil || disk.Info().LogicalSectorSize != 4096 || info.Size() > image.Spec.SizeBytes/2 {
		t.Errorf("%v, %+v, %d bytes", err, disk.Info(), info.Size())
	}
	plain := filepath.Join(t.TempDir(), "out")
	if out, code := tool(t, "sh", "-c", "7zz e -so -tVHDX "+path+" > "+plain); code != 0 {
		t.Fatalf("7zz: exit %d\n%s", code, out)
	}
	if out, code := tool(t, "cmp", image.Path, plain); code != 0 {
		t.Errorf("VHDX differs: %s", out)
	}
}

// A compressed program consists of the table of chunks and the chunks, and is a
// hole where its data was.
func TestBuildCompressed(t *testing.T) {
	for wof, chunk := range map[WOF]int{XPRESS4K: 4 << 10, XPRESS8K: 8 << 10, XPRESS16K: 16 << 10, LZX: 32 << 10} {
		t.Run(string(wof), func(t *testing.T) {
			t.Parallel()
			image := build(t, Spec{SizeBytes: 128 * mib, BootFiles: SmallBootFiles, WOFBootFiles: wof})
			path := volume(t, image, Windows)
			const name = "/Windows/Boot/EFI/bootmgfw.efi"
			stream, code := tool(t, "ntfscat", "-a", "0x80", "-n", wofStream, path, name)
			out, _ := tool(t, "ntfsinfo", "-F", name, path)
			size := regexp.MustCompile(`Data size:\t\t (\d+) .*\n.*\n\tInitialized size:\t 0 `).FindStringSubmatch(out)
			if code != 0 || size == nil || !strings.Contains(out, fmt.Sprintf("0x0100000002000000010000000%d000000", wof.algorithm().number)) {
				t.Fatalf("exit %d\n%s", code, out)
			}
			plain, err := strconv.Atoi(size[1])
			if err != nil {
				t.Fatal(err)
			}
			chunks := (plain + chunk - 1) / chunk
			table, last := 4*(chunks-1), uint32(0)
			for i := 0; i < table; i += 4 {
				at := binary.LittleEndian.Uint32([]byte(stream[i:]))
				if at <= last || at-last > uint32(chunk) || int(at) >= len(stream)-table {
					t.Fatalf("chunk %d begins at %d, the one before at %d", i/4+1, at, last)
				}
				last = at
			}
			if len(stream) >= plain || plain < 200<<10 {
				t.Errorf("%d bytes of %d", len(stream), plain)
			}
		})
	}
}

// Sums of Marvin32 that Microsoft's own implementation gives (dotnet/runtime,
// its tests of System.Marvin).
func TestMarvin32(t *testing.T) {
	const seed = 0x4fb61a001bdbcc
	for text, want := range map[string]uint64{
		"":           0x30ed35c100cd3c7d,
		"af":         0x48e73fc77d75ddc1,
		"e70f":       0xb5f6e1fc485dbff8,
		"37f495":     0xf0b07c789b8cf7e8,
		"8642dc59":   0x7008f2e87e9cf556,
		"153fb79826": 0xe6c08c6da2afa997,
	} {
		data, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := marvin32(seed, data); got != want {
			t.Errorf("%q: got %#x, want %#x", text, got, want)
		}
	}
}

// The logs turn the hive that is on the disk into the one that Windows knows,
// and are as large as that needs.
func TestHiveLogs(t *testing.T) {
	for name, bad := range map[string]bool{"good": false, "bad": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := build(t, Spec{SizeBytes: 128 * mib, BootFiles: SmallBootFiles,
				DirtySystemHiveWithLogs: !bad, DirtySystemHiveBadLogs: bad})
			config := filepath.Join(mounted(t, image, Windows), "Windows/System32/config/SYSTEM")
			read := func(path string) []byte {
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				return data
			}
			got := read(config)
			le := binary.LittleEndian
			if le.Uint32(got[4:]) != 42 || le.Uint32(got[8:]) != 41 {
				t.Errorf("sequence % x", got[4:12])
			}
			for i, file := range []string{".LOG1", ".LOG2"} {
				log := read(config + file)
				entry := log[512:]
				size, pages := int(le.Uint32(entry[4:])), int(le.Uint32(entry[20:]))
				if string(entry[:4]) != "HvLE" || size != len(entry) || int(le.Uint32(entry[12:])) != 41+i || pages == 0 || pages > 4 {
					t.Errorf("%s: % x", file, entry[:40])
				}
				sound := le.Uint64(entry[24:]) == marvin32(0x82ef4d887a4e55c5, entry[40:]) &&
					le.Uint64(entry[32:]) == marvin32(0x82ef4d887a4e55c5, entry[:32])
				if sound == bad {
					t.Errorf("%s: hashes are right: %v", file, sound)
				}
				from := entry[40+8*pages:]
				for j := range pages {
					at := 4096 + int(le.Uint32(entry[40+8*j:]))
					copy(got[at:], from[4096*j:][:4096])
				}
			}
			want, err := systemHive(image.Spec, rolesOf(image.Spec, image.Partitions), 0)
			if err != nil || !bytes.Equal(got[4096:], want[4096:]) {
				t.Errorf("not the hive that Windows knows: %v", err)
			}
		})
	}
}
