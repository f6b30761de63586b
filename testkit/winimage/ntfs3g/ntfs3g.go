package ntfs3g

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"imageport/engine/program"
)

// How long ntfs-3g may take to make the volume appear, and to write what it
// still has to write.
const (
	mountTimeout   = 20 * time.Second
	unmountTimeout = 60 * time.Second
)

// Format makes an empty volume of 4 KiB clusters that fills the file. The boot
// sector says that the volume begins at startSector of its disk, whose sectors
// have the size given, in bytes.
func Format(ctx context.Context, path, label string, startSector int64, sectorSize int) error {
	cmd := exec.CommandContext(ctx, "mkntfs", "-q", "-F", "-Q", "-L", label, "-s", strconv.Itoa(sectorSize),
		"-c", "4096", "-H", "255", "-S", "63", "-p", strconv.FormatInt(startSector, 10), path)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ntfs3g: %v: %w: %s", cmd.Args, err, bytes.TrimSpace(output))
	}
	return nil
}

// A Volume is a mounted volume.
type Volume struct {
	Dir string // its root directory

	running *program.Running // ntfs-3g
	output  program.Tail
}

// Mount mounts the volume in the file on a directory of its own. A stream of a
// file is a path with a colon, as in Windows. The context is
// for the mounting only: a mounted volume stays until Unmount.
func Mount(ctx context.Context, path string) (*Volume, error) {
	dir, err := os.MkdirTemp("", "ntfs3g-*")
	if err != nil {
		return nil, fmt.Errorf("ntfs3g: %w", err)
	}
	v := &Volume{Dir: dir, output: program.Tail{Max: maxOutput}}
	before, err := device(dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, mountTimeout, fmt.Errorf("nothing after %v", mountTimeout))
	defer cancel()
	if err := v.start(path); err != nil {
		return nil, errors.Join(fmt.Errorf("ntfs3g: %w", err), os.Remove(dir))
	}
	for {
		if now, err := device(dir); err == nil && now != before {
			return v, nil
		}
		select {
		case <-v.running.Ended():
			err := fmt.Errorf("ntfs3g: mount %s: %w: %s", path, v.running.Wait(), strings.TrimSpace(v.output.String()))
			return nil, errors.Join(err, os.Remove(dir))
		case <-ctx.Done():
			err := fmt.Errorf("ntfs3g: mount %s: %w", path, context.Cause(ctx))
			// On this signal it unmounts, if it had come that far.
			v.running.Signal(syscall.SIGTERM)
			_ = v.running.Wait() // that it was told to
			return nil, errors.Join(err, os.Remove(dir))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// maxOutput is many times what ntfs-3g says, in bytes.
const maxOutput = 16 << 10

// start runs ntfs-3g in the foreground: only its end says that everything has
// been written, which unmounting a plain file does not wait for. The end of this
// process is also to be that of the mount.
func (v *Volume) start(path string) (err error) {
	cmd := exec.Command("ntfs-3g", path, v.Dir, "-o", "no_detach,big_writes,noatime,streams_interface=windows")
	cmd.Stdout, cmd.Stderr = &v.output, &v.output
	v.running, err = program.Start(cmd, syscall.SIGTERM)
	return err
}

// Unmount writes everything to the file and removes the directory. No file of
// the volume may be open any more.
func (v *Volume) Unmount() error {
	// Detached, the mount ends with the last reference to it: a process that
	// is just being forked elsewhere in this one may hold a file for a moment.
	if err := syscall.Unmount(v.Dir, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("ntfs3g: unmount %s: %w", v.Dir, err)
	}
	var err error
	select {
	case <-v.running.Ended():
		err = v.running.Wait()
	case <-time.After(unmountTimeout):
		err = fmt.Errorf("still in use after %v", unmountTimeout)
		v.running.Signal(syscall.SIGTERM)
		_ = v.running.Wait() // that it was told to
	}
	if err := errors.Join(err, os.Remove(v.Dir)); err != nil {
		return fmt.Errorf("ntfs3g: unmount %s: %w: %s", v.Dir, err, strings.TrimSpace(v.output.String()))
	}
	return nil
}

// device identifies the file system that dir is on.
func device(dir string) (uint64, error) {
	var stat syscall.Stat_t
	if err := syscall.Stat(dir, &stat); err != nil {
		return 0, fmt.Errorf("ntfs3g: %s: %w", dir, err)
	}
	return uint64(stat.Dev), nil
}
