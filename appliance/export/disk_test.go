package export

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/disk/fat32"
	"imageport/engine/disk/gpt"
	"imageport/testkit/disktest"
)

// checkDisk tells whether our readers find everything in a disk: the UKI, at its path and where
// the layout says, and the partitions of the layout.
func checkDisk(t *testing.T, disk []byte, l Layout, uki []byte) {
	t.Helper()
	if int64(len(disk)) != l.SizeBytes || l.SizeBytes%mib != 0 {
		t.Fatalf("the disk has %d bytes, the layout says %d", len(disk), l.SizeBytes)
	}
	table, err := gpt.Read(disktest.Bytes(disk, sectorSize))
	if err != nil {
		t.Fatal(err)
	}
	regions := []Region{}
	for _, e := range table.Entries {
		regions = append(regions, Region{e.FirstLBA, e.Sectors()})
	}
	want := []Region{l.ESP}
	if l.BIOSBoot.Sectors > 0 {
		want = []Region{l.BIOSBoot, l.ESP}
	}
	if fmt.Sprint(regions) != fmt.Sprint(want) {
		t.Errorf("partitions %v, expected %v", regions, want)
	}
	if last := table.Entries[len(table.Entries)-1]; last.Type != gpt.TypeESP {
		t.Errorf("%v has type %v", last, last.Type)
	}
	if at := l.UKI.FirstLBA * sectorSize; l.UKISize != int64(len(uki)) || !bytes.Equal(disk[at:][:len(uki)], uki) {
		t.Errorf("the UKI is not at LBA %d", l.UKI.FirstLBA)
	}
	if want := uint64(len(uki)+sectorSize-1) / sectorSize; l.UKI.Sectors != want {
		t.Errorf("the UKI has %d sectors, expected %d", l.UKI.Sectors, want)
	}
	checkESP(t, disk[l.ESP.FirstLBA*sectorSize:][:l.ESP.Sectors*sectorSize], uint32(l.ESP.FirstLBA), uki)
}

// checkESP has both fsck.fat and our own reader look at the file system.
func checkESP(t *testing.T, volume []byte, hidden uint32, uki []byte) {
	t.Helper()
	fs, err := fat32.Open(bytes.NewReader(volume), int64(len(volume)))
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Check(); err != nil {
		t.Error(err)
	}
	if got := fs.Info().HiddenSectors; got != hidden {
		t.Errorf("%d hidden sectors, expected %d", got, hidden)
	}
	file, err := fs.Open(`EFI/BOOT/BOOTX64.EFI`)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, file.Size())
	if _, err := file.ReadAt(got, 0); err != nil || !bytes.Equal(got, uki) {
		t.Errorf("the file differs from the UKI: %v", err)
	}
	path := filepath.Join(t.TempDir(), "esp.img")
	disktest.RawFile(t, path, volume)
	if out := string(disktest.Run(t, "fsck.fat", "-n", "-v", path)); !strings.Contains(out, "4 files,") || strings.Contains(out, "Leaving filesystem unchanged") {
		t.Errorf("fsck.fat: %s", out)
	}
}

// sgdisk must find nothing to complain about.
func checkSgdisk(t *testing.T, path string) {
	t.Helper()
	out := string(disktest.Run(t, "sgdisk", "-v", path))
	if !strings.Contains(out, "No problems found") || strings.Contains(out, "Caution") || strings.Contains(out, "Warning") {
		t.Errorf("sgdisk: %s", out)
	}
}

func TestRaw(t *testing.T) {
	for _, tt := range []struct {
		name string
		uki  int // bytes
		disk int64
		bios bool
	}{
		{"least", 0x86, 35 << 20, false},
		{"a sector", 512, 35 << 20, false},
		{"as the appliance", 23<<20 + 12345, 35 << 20, false},
		{"as the appliance, BIOS", 23<<20 + 12345, 36 << 20, true},
		{"nearly full", 32 << 20, 35 << 20, false},
		{"more than the least FAT32", 33 << 20, 36 << 20, false},
		{"large", 70 << 20, 74 << 20, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			uki := program(tt.uki, 1)
			var opt Options
			var asked Layout
			if tt.bios {
				opt.BIOS = loader(&asked)
			}
			path, info := export(t, Raw, uki, opt)
			disk, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Layout.SizeBytes != tt.disk {
				t.Errorf("a disk of %d bytes, expected %d", info.Layout.SizeBytes, tt.disk)
			}
			if tt.bios && asked != info.Layout {
				t.Errorf("the BIOS loader was asked for %+v, the disk has %+v", asked, info.Layout)
			}
			checkDisk(t, disk, info.Layout, uki)
			checkSgdisk(t, path)
		})
	}
}

func TestBIOS(t *testing.T) {
	uki := program(1<<20, 2)
	var l Layout
	path, info := export(t, Raw, uki, Options{BIOS: loader(&l)})
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(disk[:maxMBRCode], bytes.Repeat([]byte{0xFA}, maxMBRCode)) {
		t.Errorf("the MBR code is % X", disk[:maxMBRCode])
	}
	// The rest of a protective MBR (UEFI 5.2.3), whose entry firmware may insist on.
	if want := []byte("\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xEE\xFF\xFF\xFF\x01\x00\x00\x00"); !bytes.Equal(disk[maxMBRCode:][:len(want)], want) {
		t.Errorf("the MBR goes on with % X", disk[maxMBRCode:][:len(want)])
	}
	if boot := disk[l.BIOSBoot.FirstLBA*sectorSize:]; !bytes.HasPrefix(boot, bytes.Repeat([]byte("boot"), 1000)) || boot[4000] != 0 {
		t.Error("the BIOS boot partition does not begin with the loader's code")
	}
	if out := string(disktest.Run(t, "sgdisk", "-i1", path)); !strings.Contains(out, "(BIOS boot partition)") {
		t.Errorf("sgdisk: %s", out)
	}

	// Short code replaces all of the message that a GPT comes with.
	short := func(Layout) (BIOSCode, error) { return BIOSCode{MBR: []byte{0xF4}}, nil }
	path, _ = export(t, Raw, uki, Options{BIOS: short})
	if disk, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if disk[0] != 0xF4 || !bytes.Equal(disk[1:maxMBRCode], make([]byte, maxMBRCode-1)) {
		t.Errorf("the MBR code is % X", disk[:maxMBRCode])
	}

	// Without a loader there is no trace of one, and the UKI is elsewhere.
	_, plain := export(t, Raw, uki, Options{})
	if plain.Layout.BIOSBoot != (Region{}) || plain.Layout.UKI.FirstLBA+biosBootSectors != info.Layout.UKI.FirstLBA {
		t.Errorf("without a loader: %+v", plain.Layout)
	}
}

func TestBIOSRefuses(t *testing.T) {
	broken := errors.New("no .linux section")
	for _, tt := range []struct {
		name string
		code BIOSCode
		err  error
		want error
		says string
	}{
		{"its own error", BIOSCode{}, broken, broken, "BIOS loader: no .linux"},
		{"no code", BIOSCode{}, nil, ErrOptions, "MBR code has 0 bytes"},
		{"too much code", BIOSCode{MBR: make([]byte, 441)}, nil, ErrOptions, "441 bytes"},
		{"too large for the partition", BIOSCode{MBR: []byte{1}, Boot: make([]byte, mib+1)}, nil, ErrOptions, "1048577 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := Options{BIOS: func(Layout) (BIOSCode, error) { return tt.code, tt.err }}
			var out bytes.Buffer
			_, err := Write(t.Context(), &out, Raw, load(t, program(1000, 1)), opt)
			if !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("got %v, want one that says %q", err, tt.says)
			}
			if out.Len() > 0 {
				t.Errorf("%d bytes were written", out.Len())
			}
		})
	}
}
