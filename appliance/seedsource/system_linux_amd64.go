package seedsource

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/vmware/vmw-guestinfo/message"
	"github.com/vmware/vmw-guestinfo/rpcvmx"
	"github.com/vmware/vmw-guestinfo/vmcheck"
	"golang.org/x/sys/unix"
)

// System is the machine that this runs on. Mounting needs root and /proc.
func System() Env {
	message.DefaultLogger = silent{}
	return Env{
		Sys: "/sys", Dev: "/dev",
		Metadata: "http://169.254.169.254", HTTP: NewClient(),
		Mount:     mount,
		GuestInfo: backdoor,
	}
}

// discFormats are the file systems that a disc may have.
var discFormats = []string{"iso9660", "udf", "vfat"}

// mount mounts a disc where nobody sees it: the mount is in no directory, and
// goes with its last file descriptor.
func mount(device string) (Volume, error) {
	var said []string
	for _, format := range discFormats {
		v, err := mountAs(device, format)
		switch {
		case err == nil:
			return v, nil
		case errors.Is(err, unix.ENOMEDIUM):
			return nil, errors.New("no disc in the drive")
		}
		said = append(said, format+": "+err.Error())
	}
	return nil, errors.New("cannot be mounted: " + strings.Join(said, ", "))
}

func mountAs(device, format string) (_ Volume, err error) {
	fsfd, err := unix.Fsopen(format, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fsfd)
	if err := unix.FsconfigSetFlag(fsfd, "ro"); err != nil {
		return nil, err
	}
	if err := unix.FsconfigSetString(fsfd, "source", device); err != nil {
		return nil, err
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return nil, err
	}
	mfd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, err
	}
	top := os.NewFile(uintptr(mfd), device)
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", mfd))
	if err != nil {
		return nil, errors.Join(err, top.Close())
	}
	return disc{FS: root.FS(), root: root, top: top}, nil
}

// disc is a detached mount. Links on it do not lead out of it.
type disc struct {
	fs.FS
	root *os.Root
	top  *os.File
}

func (d disc) Close() error { return errors.Join(d.root.Close(), d.top.Close()) }

// backdoor asks vSphere for a value of guestinfo, by RPC over an I/O port that
// the hypervisor watches.
func backdoor(key string) (string, error) {
	var value string
	err := guarded(func() error {
		// iopl is refused under lockdown, and the port is open to everybody
		// nevertheless: what counts is whether it answers.
		is, err := vmcheck.IsVirtualWorld(true)
		if err != nil {
			return err
		}
		if !is {
			return errors.New("the hypervisor has no VMware backdoor")
		}
		value, err = rpcvmx.NewConfig().String(key, "")
		return err
	})
	return value, err
}

// guarded runs what touches I/O ports. A hypervisor that does not watch the
// port makes a fault of it, which must not end the CE.
func guarded(touch func() error) error {
	done := make(chan error, 1)
	go func() {
		// The right to use ports is a thread's own. This one is never unlocked: it
		// ends with the goroutine, and the right with it.
		runtime.LockOSThread()
		debug.SetPanicOnFault(true)
		defer func() {
			if fault := recover(); fault != nil {
				done <- errors.New("the VMware backdoor is closed: its port faults")
			}
		}()
		done <- touch()
	}()
	return <-done
}

// silent keeps the messages of the RPC, which may quote the seed, off the
// console. Its errors say the same.
type silent struct{}

func (silent) Errorf(string, ...any) {}
func (silent) Debugf(string, ...any) {}
func (silent) Infof(string, ...any)  {}
