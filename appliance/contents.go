package appliance

import (
	_ "embed"
	"fmt"
	"strings"

	"imageport/appliance/deb"
	"imageport/appliance/initramfs"
	"imageport/appliance/lock"
)

// Suite is the release of Debian that packages are of.
const Suite = "trixie"

//go:embed packages.lock
var pinned []byte

// Pinned is the lock that this program was released with.
func Pinned() (lock.Lock, error) { return lock.Parse(pinned) }

// Packages are those that a lock has to pin. Nobody resolves dependencies: a
// library that is missing fails the build.
func Packages() []lock.Want {
	return []lock.Want{
		{Name: "linux-image-cloud-amd64", Follow: true},
		{Name: "systemd-boot-efi"},
		{Name: "libc6"},
		{Name: "libntfs-3g89t64"},
		{Name: "ntfs-3g"},
	}
}

// modules of all platforms, as the machine is not known when the image is
// built. FUSE, and much else that is the same everywhere, is in the kernel.
var modules = strings.Fields(`
	vmw_pvscsi vmxnet3
	xen-blkfront xen-netfront
	hv_vmbus hv_storvsc hv_netvsc hv_utils pci-hyperv mana mlx5_core
	virtio_scsi virtio_blk virtio_net gve idpf
	nvme ahci ata_piix sd_mod sr_mod
	isofs udf vfat nls_ascii nls_cp437 nls_iso8859-1 nls_utf8
	qemu_fw_cfg virtio-rng efivarfs`)

// programs that the engine calls.
var programs = []string{"/usr/bin/ntfs-3g", "/usr/sbin/ntfsresize"}

// stubPath is the boot stub in the packages.
const stubPath = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

// commandLine is the kernel's.
//   - The last console is that of /dev/console: the serial one, which clouds keep.
//   - no_timer_check: a slow emulator fails the kernel's test of the timer.
//   - cryptomgr.notests: the kernel's cryptography verifies its own modules and
//     nothing else here; testing all of it at every start takes a second.
//   - A defect of the kernel ends the VM, instead of leaving half of it.
const commandLine = "console=tty0 console=ttyS0,115200n8 printk.devkmsg=on quiet loglevel=4 no_timer_check cryptomgr.notests" +
	" oops=panic panic=-1 lockdown=integrity module.sig_enforce=1 init_on_alloc=1 slab_nomerge"

// needed reports whether a file of a package may be used.
func needed(name string) bool {
	if strings.HasPrefix(name, "/usr/share/") {
		return false
	}
	return initramfs.KernelFile(name) || name == stubPath || inDirs(name, "/usr/bin/", "/usr/sbin/", "/usr/lib64/", "/usr/lib/x86_64-linux-gnu/")
}

func inDirs(name string, dirs ...string) bool {
	for _, dir := range dirs {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

// root makes the root file system. PID 1, which is the agent, relies on these
// paths.
func root(k *initramfs.Kernel, files deb.Tree, agent []byte, release string) (*initramfs.Tree, error) {
	t := &initramfs.Tree{}
	if err := t.AddFile("/init", 0o755, agent); err != nil {
		return nil, err
	}
	// The kernel calls it by name when a hypervisor asks for a shutdown. PID 1
	// makes the other such link, /sbin/modprobe: before there is a PID 1 the
	// kernel would call it twenty times in vain, which takes seconds in emulation.
	if err := t.AddLink("/sbin/poweroff", "/init"); err != nil {
		return nil, err
	}
	for _, mountPoint := range []string{"/dev", "/proc", "/run", "/sys"} {
		if err := t.AddDir(mountPoint, 0o755); err != nil {
			return nil, err
		}
	}
	if err := t.AddDir("/tmp", 0o1777); err != nil {
		return nil, err
	}
	// The kernel opens the console for PID 1 before anything is mounted.
	if err := t.AddDevice("/dev/console", 0o600, 5, 1); err != nil {
		return nil, err
	}
	if err := t.AddDevice("/dev/null", 0o666, 1, 3); err != nil {
		return nil, err
	}
	if err := t.AddFile("/etc/imageport-release", 0o644, []byte(release)); err != nil {
		return nil, err
	}
	if err := t.AddModules(k, modules); err != nil {
		return nil, err
	}
	return t, t.AddPrograms(files, programs)
}

// osRelease is the UKI's section .osrel, os-release(5): what boot menus show.
func osRelease(version string) string {
	return fmt.Sprintf("ID=%s\nNAME=\"%s\"\nPRETTY_NAME=\"%s %s\"\nVERSION_ID=%q\n", Name, title, title, version, version)
}

// releaseFile is /etc/imageport-release.
func releaseFile(version string, l lock.Lock) string {
	return fmt.Sprintf("NAME=%s\nVERSION=%s\nLOCK_SHA256=%s\n", Name, version, l.SHA256())
}
