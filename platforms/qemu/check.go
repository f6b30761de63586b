package qemu

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"imageport/platforms"
	"imageport/platforms/cedir"
)

// Check implements platforms.Driver.
func (d *Driver) Check(ctx context.Context, ce platforms.Spec) error {
	if err := d.store.Check(ctx, ce); err != nil {
		return err
	}
	for _, check := range []func(context.Context) error{d.checkProgram, d.checkFirmware, d.checkImage, d.checkNetwork, d.checkOutputDir} {
		if err := check(ctx); err != nil {
			return cedir.Fail("check", ce.Name, err)
		}
	}
	if in, err := d.store.Find(ctx, ce.Name); err == nil && in.State == platforms.Running {
		return nil // it has its memory already
	}
	return cedir.Fail("check", ce.Name, checkMemory("a CE", d.cfg.MemoryMB, " (memory_mb under [qemu])"))
}

func (d *Driver) checkProgram(ctx context.Context) error {
	if _, err := exec.LookPath(d.cfg.Program); err != nil {
		return platforms.Errorf(platforms.NotFound, "QEMU: %w; install it (Debian, Ubuntu: qemu-system-x86; Fedora: qemu-system-x86-core)", err)
	}
	if d.cfg.Accel == kvm && !opens("/dev/kvm") {
		return platforms.Errorf(platforms.Denied, "/dev/kvm does not open, and the accelerator is to be kvm: load the module kvm, add the worker's user to the group kvm, or choose auto")
	}
	_, err := d.accelerator(ctx)
	return err
}

func (d *Driver) checkFirmware(context.Context) error { return d.checkFirmwareFor(d.cfg.Firmware) }

// checkFirmwareFor refuses when a machine with that firmware could not start.
func (d *Driver) checkFirmwareFor(firmware string) error {
	if firmware != uefi {
		return nil // SeaBIOS comes with QEMU
	}
	for _, path := range []string{d.cfg.FirmwareCode, d.cfg.FirmwareVars} {
		if err := readable(path); err != nil {
			return fmt.Errorf("the UEFI firmware: %w; install it (Debian, Ubuntu: ovmf; Fedora: edk2-ovmf)", err)
		}
	}
	return nil
}

// checkImage refuses an image that is no disk with a GPT (UEFI specification
// 5.3.2: the header is in the second sector and begins with "EFI PART"), or not
// the one that its digest is of.
func (d *Driver) checkImage(ctx context.Context) error {
	f, err := os.Open(d.cfg.Image)
	if err != nil {
		return fmt.Errorf("the appliance's image: %w; build it (imageport appliance build --formats raw), or correct image under [qemu]", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("the appliance's image: %w", err)
	}
	refuse := func(format string, args ...any) error {
		return platforms.Errorf(platforms.BadRequest, "the appliance's image %s %s", d.cfg.Image, fmt.Sprintf(format, args...))
	}
	const sector = 512
	if !st.Mode().IsRegular() || st.Size() < 3*sector || st.Size()%sector != 0 {
		return refuse("is no raw disk: it has %d bytes, want sectors of %d", st.Size(), sector)
	}
	start := make([]byte, 2*sector)
	if _, err := f.ReadAt(start, 0); err != nil {
		return fmt.Errorf("the appliance's image: %w", err)
	}
	if got, want := start[sector:sector+8], "EFI PART"; string(got) != want {
		return refuse("is no raw disk with a GPT: at byte %d it has %q, want %q", sector, got, want)
	}
	// 5.3.2, table 5.5: AlternateLBA is at 32, and is the disk's last sector.
	if last := binary.LittleEndian.Uint64(start[sector+32:]); last >= uint64(st.Size()/sector) {
		return refuse("is cut off: it has %d sectors of %d bytes, and its GPT ends in sector %d; build or copy it again", st.Size()/sector, sector, last)
	}
	if d.cfg.Firmware == bios && !bytes.Equal(start[510:512], []byte{0x55, 0xaa}) {
		return refuse("does not boot with a BIOS: at byte 510 it has %x, want 55aa", start[510:512])
	}
	want, err := digest(d.cfg.Image + ".sha256")
	if err != nil || want == "" {
		return err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, reader{ctx, io.NewSectionReader(f, 0, st.Size())}); err != nil {
		return fmt.Errorf("the appliance's image: %w", err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != want {
		return refuse("is damaged: its SHA-256 is %s, want %s as in %s.sha256", got, want, filepath.Base(d.cfg.Image))
	}
	return nil
}

// reader ends when ctx does.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// digest reads the first word of a file that sha256sum wrote. If there is no
// such file, it is "".
func digest(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, 2*sha256.Size)
	if _, err := io.ReadFull(f, b); err == nil {
		if _, err := hex.DecodeString(string(b)); err == nil {
			return strings.ToLower(string(b)), nil
		}
	}
	return "", platforms.Errorf(platforms.BadRequest, "%s does not begin with a SHA-256 in hexadecimal", path)
}

func (d *Driver) checkNetwork(context.Context) error {
	kind, name, _ := strings.Cut(d.cfg.Network, ":")
	// A directory of every bridge, a file of every tap and tun device.
	mark, ok := map[string]string{networkBridge: "bridge", networkTap: "tun_flags"}[kind]
	if !ok {
		return nil
	}
	if _, err := os.Stat(filepath.Join("/sys/class/net", name, mark)); err != nil {
		return platforms.Errorf(platforms.NotFound, "network %s: this machine has no %s %q: %w", d.cfg.Network, kind, name, err)
	}
	return nil
}

func (d *Driver) checkOutputDir(context.Context) error {
	if err := d.disks.CheckDir(); err != nil || d.cfg.OutputDir == "" {
		return err
	}
	if _, err := exec.LookPath(d.cfg.ImageProgram); err != nil {
		return platforms.Errorf(platforms.NotFound, "output disks: %w; install it (Debian, Ubuntu: qemu-utils; Fedora: qemu-img)", err)
	}
	return nil
}

// checkMemory refuses when the memory of a machine is not to be had now. What it is
// for, and where that is configured, is for the message.
func checkMemory(who string, needMB int, where string) error {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return err
	}
	defer f.Close()
	free, err := availableMB(f)
	if err != nil {
		return err
	}
	if free < needMB {
		return platforms.Errorf(platforms.Full, "%s needs %d MiB of memory%s, and this machine has %d MiB available", who, needMB, where, free)
	}
	return nil
}

// availableMB reads /proc/meminfo (proc(5)) and gives what new programs can
// have without swapping, in MiB.
func availableMB(r io.Reader) (int, error) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) == 3 && words[0] == "MemAvailable:" && words[2] == "kB" {
			kb, err := strconv.Atoi(words[1])
			if err != nil {
				return 0, fmt.Errorf("/proc/meminfo, MemAvailable: %w", err)
			}
			return kb >> 10, nil
		}
	}
	return 0, errors.New("/proc/meminfo has no MemAvailable in kB")
}

// readable reports why a file cannot be read.
func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}
