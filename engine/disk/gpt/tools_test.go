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
