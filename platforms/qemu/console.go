package qemu

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"imageport/platforms"
	"imageport/platforms/cedir"
)

// tailBytes is how much of the end of a log is looked at for a fault.
const tailBytes = 64 << 10

// describe adds what is known of a machine's fault, and cuts its console.
func (d *Driver) describe(dir string, _ cedir.Process, in *platforms.Instance) {
	d.cut(dir)
	lines := cedir.Tail(filepath.Join(dir, consoleFile), tailBytes)
	in.Fault = fault(lines, in.State)
	if in.Fault != "" && !strings.HasPrefix(in.Fault, endsWith) || in.State != platforms.Stopped {
		return
	}
	for _, said := range cedir.Tail(filepath.Join(dir, wordsFile), tailBytes) {
		if !strings.Contains(said, "warning:") && !strings.Contains(said, "terminating on signal") {
			in.Fault = cedir.Cut("QEMU: " + said)
		}
	}
}

// nothingToBoot are the last words of the firmwares when there is nothing that
// they can boot: SeaBIOS's, OVMF's, and OVMF's when Secure Boot forbids it or
// the disk holds no boot loader.
var nothingToBoot = []string{"No bootable device", "No bootable option or device", "BdsDxe: failed to load Boot"}

// endsWith begins a fault that nobody has named.
const endsWith = "its console ends with: "

// biosLoader begins the lines of the appliance's own boot loader for BIOS.
const biosLoader = "imageport: "

// kernelLine is how Linux begins the lines of its log.
var kernelLine = regexp.MustCompile(`^\[ *[0-9]+\.[0-9]{6}\]`)

// fault finds on a console why the machine stopped, or why it runs to no
// purpose: what the CE itself said last comes first, then the kernel, then the
// firmware.
func fault(lines []string, state platforms.State) string {
	var gaveUp, panicked, firmware, last string
	for _, line := range lines {
		if cause, ok := cedir.GaveUp(line); ok {
			gaveUp = cause
		}
		if _, panic, ok := strings.Cut(line, "Kernel panic"); ok {
			panicked = cedir.Cut("Kernel panic" + panic)
		}
		if kernelLine.MatchString(line) {
			firmware = "" // it did find something
		}
		if words, ok := strings.CutPrefix(line, biosLoader); ok {
			firmware = cedir.Cut(words)
		}
		if line != "" {
			last = line
		}
		for _, words := range nothingToBoot {
			if strings.Contains(line, words) {
				firmware = cedir.Cut("the firmware found nothing to boot: " + line)
			}
		}
	}
	switch {
	case state == platforms.Running:
		if strings.Contains(firmware, "found nothing to boot") {
			return firmware
		}
		return "" // the loader powers off by itself
	case gaveUp != "":
		return gaveUp
	case panicked != "":
		return panicked
	case firmware != "":
		return firmware
	case last != "":
		return cedir.Cut(endsWith + last)
	}
	return ""
}

// cut gives back the disk space of all but the end of what a machine and its
// QEMU have printed, when that is twice as much as is to be kept. QEMU goes on
// writing at the end of the files meanwhile, and no line is lost there.
func (d *Driver) cut(dir string) {
	for _, name := range []string{consoleFile, wordsFile} {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
		if err != nil {
			continue // there is none yet, or none any more
		}
		const block = 512 // the unit of st_blocks, stat(2)
		var st syscall.Stat_t
		if err := syscall.Fstat(int(f.Fd()), &st); err == nil && st.Blocks*block > 2*d.cfg.ConsoleKeep {
			err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, st.Size-d.cfg.ConsoleKeep)
			if err != nil {
				// A file system without holes. QEMU appends, wherever the end is.
				_ = f.Truncate(0)
			}
		}
		f.Close()
	}
}
