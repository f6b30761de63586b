package gpt

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
)

// sgdisk must find nothing to complain about and read what we wrote.
func TestSgdiskAccepts(t *testing.T) {
	for _, tt := range []struct {
		name       string
		size       int64
		sectorSize int
	}{
		{"1 GiB", 1 << 30, 512},
		{"uneven", 1<<30 + 5*512, 512},
		{"3 TiB", 3 << 40, 512},
		{"4096-byte sectors", 1 << 30, 4096},
		{"uneven, 4096-byte sectors", 1<<30 + 5*4096, 4096},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newFileDisk(t, tt.size, tt.sectorSize)
			table := windowsTable(uint64(tt.size)/uint64(tt.sectorSize), tt.sectorSize)
			if err := table.Write(d); err != nil {
				t.Fatal(err)
			}
			path := d.Name()
			if tt.sectorSize != 512 { // sgdisk takes files for disks of 512-byte sectors
				path = loopDevice(t, path, tt.sectorSize)
			}
			if out := run(t, "sgdisk", "-v", path); !strings.Contains(out, "No problems found.") || strings.Contains(out, "Caution") {
				t.Error(out)
			}
			out := run(t, "sgdisk", "-p", path)
			for _, want := range []string{
				"Disk identifier (GUID): " + strings.ToUpper(table.DiskGUID.String()),
				fmt.Sprintf("Sector size (logical%s): %d", map[bool]string{true: "", false: "/physical"}[path == d.Name()], tt.sectorSize),
				fmt.Sprintf("First usable sector is %d, last usable sector is %d", table.FirstUsable(), table.LastUsable()),
			} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			for _, e := range table.Entries {
				out := run(t, "sgdisk", fmt.Sprintf("-i%d", e.Index+1), path)
				for _, want := range []string{
					"Partition GUID code: " + strings.ToUpper(e.Type.String()),
					"Partition unique GUID: " + strings.ToUpper(e.ID.String()),
					fmt.Sprintf("First sector: %d ", e.FirstLBA),
					fmt.Sprintf("Last sector: %d ", e.LastLBA),
					fmt.Sprintf("Attribute flags: %016X", e.Attributes),
					fmt.Sprintf("Partition name: '%s'", e.Name),
				} {
					if !strings.Contains(out, want) {
						t.Errorf("entry %d: no %q in\n%s", e.Index+1, want, out)
					}
				}
			}
		})
	}
}

// Read must take what sgdisk writes, to the letter.
func TestReadsSgdisk(t *testing.T) {
	for _, sectorSize := range []int{512, 4096} {
		t.Run(fmt.Sprint(sectorSize), func(t *testing.T) {
			d := newFileDisk(t, 1<<30, sectorSize)
			want := windowsTable(uint64(d.size)/uint64(sectorSize), sectorSize)
			path := d.Name()
			if sectorSize != 512 {
				path = loopDevice(t, path, sectorSize)
			}
			args := []string{"-a1", "-U", want.DiskGUID.String()}
			for _, e := range want.Entries {
				n := e.Index + 1
				args = append(args,
					fmt.Sprintf("-n%d:%d:%d", n, e.FirstLBA, e.LastLBA),
					fmt.Sprintf("-t%d:%s", n, e.Type), fmt.Sprintf("-u%d:%s", n, e.ID), fmt.Sprintf("-c%d:%s", n, e.Name))
				for bit := range 64 {
					if e.Attributes>>bit&1 != 0 {
						args = append(args, fmt.Sprintf("-A%d:set:%d", n, bit))
					}
				}
			}
			run(t, "sgdisk", append(args, path)...)
			got, err := Read(d)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// sgdisk must find nothing to complain about on the larger disk, and what it
// tells of the partitions must be what it told of the smaller one. The smaller
// one is its own work.
func TestSgdiskAcceptsExtended(t *testing.T) {
	const tib = int64(1) << 40
	for _, tt := range []struct {
		name       string
		from, to   int64
		sectorSize int
		entries    int
	}{
		{"1 GiB to 2 GiB", 1 << 30, 2 << 30, 512, 128},
		{"a sector more", 1 << 30, 1<<30 + 512, 512, 128},
		{"20 sectors more", 1 << 30, 1<<30 + 20*512, 512, 128},
		{"over 2 TiB", 1 << 30, 3 * tib, 512, 128},
		{"256 entries", 1 << 30, 2 << 30, 512, 256},
		{"4096-byte sectors", 1 << 30, 2 << 30, 4096, 128},
		{"4096-byte sectors, one more", 1 << 30, 1<<30 + 4096, 4096, 128},
		{"4096-byte sectors, 512 entries", 1 << 30, 2 << 30, 4096, 512},
		{"same size", 1 << 30, 1 << 30, 512, 128},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // sgdisk sleeps after it wrote
			d := newFileDisk(t, tt.from, tt.sectorSize)
			sgdisk := func(args ...string) string {
				if tt.sectorSize == 512 { // sgdisk takes files for disks of 512-byte sectors
					return run(t, "sgdisk", append(args, d.Name())...)
				}
				device := strings.TrimSpace(run(t, "losetup", "-f", "--show", "-b", fmt.Sprint(tt.sectorSize), d.Name()))
				defer run(t, "losetup", "-d", device)
				return run(t, "sgdisk", append(args, device)...)
			}
			args := []string{"-a1", "-S", fmt.Sprint(tt.entries), "-U", id(1).String()}
			for _, e := range windowsTable(uint64(tt.from)/uint64(tt.sectorSize)-64, tt.sectorSize).Entries {
				n := e.Index + 1
				args = append(args, fmt.Sprintf("-n%d:%d:%d", n, e.FirstLBA, e.LastLBA), fmt.Sprintf("-t%d:%s", n, e.Type), fmt.Sprintf("-u%d:%s", n, e.ID), fmt.Sprintf("-c%d:%s", n, e.Name), fmt.Sprintf("-A%d:set:63", n))
			}
			sgdisk(args...)
			before := sgdisk("-i1", "-i2", "-i3")

			writes, err := Extend(d, tt.to)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Truncate(tt.to); err != nil {
				t.Fatal(err)
			}
			for _, w := range writes {
				if _, err := d.WriteAt(w.Data, w.Offset); err != nil {
					t.Fatal(err)
				}
			}
			if out := sgdisk("-v"); !strings.Contains(out, "No problems found.") || strings.Contains(out, "Caution") || strings.Contains(out, "Warning") {
				t.Error(out)
			}
			if after := sgdisk("-i1", "-i2", "-i3"); after != before || !strings.Contains(after, "Partition name: 'Récupération'") {
				t.Errorf("before %s\nafter %s", before, after)
			}
			sectors, blocks := tt.to/int64(tt.sectorSize), (int64(tt.entries)*128+int64(tt.sectorSize)-1)/int64(tt.sectorSize)
			out := sgdisk("-p")
			for _, want := range []string{
				fmt.Sprintf("%d sectors, ", sectors),
				"Disk identifier (GUID): " + strings.ToUpper(id(1).String()),
				fmt.Sprintf("Partition table holds up to %d entries", tt.entries),
				fmt.Sprintf("last usable sector is %d", sectors-2-blocks),
			} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			d.size = tt.to
			if _, err := Read(d); err != nil {
				t.Error(err)
			}
		})
	}
}

// A BIOS that starts the converted disk must say what to do. SeaBIOS copies
// its screen to the serial port.
func TestBootCodeInBIOS(t *testing.T) {
	d := newFileDisk(t, 64<<20, 512)
	if err := windowsTable(64<<11, 512).Write(d); err != nil {
		t.Fatal(err)
	}
	qemu := exec.Command("qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-m", "64", "-nographic", "-no-reboot",
		"-nic", "none", "-drive", "if=ide,format=raw,file="+d.Name())
	out, err := qemu.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	defer qemu.Wait()
	defer qemu.Process.Kill()
	limit := time.AfterFunc(20*time.Second, func() { qemu.Process.Kill() })
	defer limit.Stop()

	var screen strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		screen.WriteString(strings.TrimRight(lines.Text(), "\r") + "\n")
		if strings.Contains(screen.String(), "\nThis disk was converted to UEFI.\nSwitch the VM's firmware from BIOS to UEFI/EFI.\n") {
			return
		}
	}
	t.Errorf("the screen shows %q", screen.String())
}

// loopDevice attaches the image to a block device with the sector size.
func loopDevice(t *testing.T, image string, sectorSize int) string {
	t.Helper()
	device := strings.TrimSpace(run(t, "losetup", "-f", "--show", "-b", fmt.Sprint(sectorSize), image))
	t.Cleanup(func() { run(t, "losetup", "-d", device) })
	if _, err := os.Stat(device); err != nil {
		t.Fatal(err)
	}
	return device
}
