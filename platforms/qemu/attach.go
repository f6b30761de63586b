package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/outputdir"
	"imageport/qmp"
)

// formatOptions are qemu-img's for making a disk that grows.
var formatOptions = map[platforms.DiskFormat][]string{
	platforms.VMDK: {"-f", "vmdk", "-o", "subformat=monolithicSparse"},
	platforms.VHDX: {"-f", "vhdx", "-o", "subformat=dynamic"},
}

// makeDisk makes the file of an empty disk that is not raw.
func (d *Driver) makeDisk(ctx context.Context, o outputdir.Disk) error {
	folder, file := filepath.Split(o.Partial)
	args := append([]string{"create", "-q"}, formatOptions[o.Format]...)
	// After "./" nothing in a name means anything to qemu-img.
	return d.image(ctx, folder, append(args, "./"+file, fmt.Sprint(o.SizeBytes))...)
}

// verifyDisk refuses a disk whose file is not whole.
func (d *Driver) verifyDisk(ctx context.Context, o outputdir.Disk) error {
	folder, file := filepath.Split(o.Partial)
	return d.image(ctx, folder, "check", "-q", "-f", string(o.Format), "./"+file)
}

// image runs qemu-img in a folder.
func (d *Driver) image(ctx context.Context, folder string, args ...string) error {
	cmd := exec.CommandContext(ctx, d.cfg.ImageProgram, args...)
	cmd.Dir, cmd.Env = folder, environment("")
	var said bytes.Buffer // a few lines
	cmd.Stderr = &said
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		return nil
	}
	words := strings.Join(strings.Fields(strings.ToValidUTF8(said.String(), "")), " ")
	kind := platforms.Internal
	if strings.Contains(words, "No space left on device") {
		kind = platforms.Full
	}
	return platforms.Errorf(kind, "%s %s: %w: %s", filepath.Base(d.cfg.ImageProgram), args[0], err, cedir.Cut(words))
}

// nodeName and deviceID are QEMU's names for the disk: as a file, and as a
// device. A node's has 31 characters at most.
func nodeName(o outputdir.Disk) string { return "disk-" + o.Serial }
func deviceID(o outputdir.Disk) string { return "scsi-" + o.Serial }

// attach gives the machine in dir the disk, if it has not got it.
func (d *Driver) attach(ctx context.Context, dir string, o outputdir.Disk) error {
	m, err := dial(ctx, dir)
	if err != nil {
		return err
	}
	defer m.close()
	has, err := m.hasNode(ctx, nodeName(o))
	if err != nil {
		return err
	}
	if !has {
		err := m.run(ctx, "blockdev-add", node{
			NodeName: nodeName(o), Driver: string(o.Format), Discard: "unmap",
			File: file{Driver: "file", Filename: o.Partial, Discard: "unmap"},
		}, nil)
		if err != nil {
			return err
		}
		d.store.Step("added the disk's node")
	}
	if has, err = m.hasDevice(ctx, deviceID(o)); err != nil || has {
		return err
	}
	err = m.run(ctx, "device_add", map[string]any{
		"driver": "scsi-hd", "bus": "scsi.0", "id": deviceID(o), "drive": nodeName(o), "serial": o.Serial,
		// The CE is to hear of errors, not to be stopped by them.
		"werror": "report", "rerror": "report",
	}, nil)
	d.store.Step("added the disk's device")
	return err
}

// detach takes the disk from the machine in dir, if that runs, and waits until
// QEMU has closed its file.
func (d *Driver) detach(ctx context.Context, dir string, o outputdir.Disk) error {
	if p, err := cedir.Recorded(dir); err != nil || !p.Alive() {
		return err
	}
	m, err := dial(ctx, dir)
	if err != nil {
		return err
	}
	defer m.close()
	has, err := m.hasDevice(ctx, deviceID(o))
	if err != nil {
		return err
	}
	if has {
		err := m.run(ctx, "device_del", map[string]any{"id": deviceID(o)}, nil)
		// An earlier try may have got as far, and the machine still be at it.
		if refused, ok := errors.AsType[*qmp.Refusal](err); ok && strings.Contains(refused.Desc, "already in the process of unplug") {
			err = nil
		}
		if err == nil {
			err = m.waitDeleted(ctx, deviceID(o))
		}
		if err != nil {
			return err
		}
		d.store.Step("removed the disk's device")
	}
	if has, err = m.hasNode(ctx, nodeName(o)); err != nil || !has {
		return err
	}
	err = m.run(ctx, "blockdev-del", map[string]any{"node-name": nodeName(o)}, nil)
	d.store.Step("removed the disk's node")
	return err
}

// hasNode reports whether the machine has a block node of that name.
func (m *monitor) hasNode(ctx context.Context, name string) (bool, error) {
	var nodes []struct {
		Name string `json:"node-name"`
	}
	if err := m.run(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &nodes); err != nil {
		return false, err
	}
	for _, n := range nodes {
		if n.Name == name {
			return true, nil
		}
	}
	return false, nil
}

// hasDevice reports whether the machine has a device of that id.
func (m *monitor) hasDevice(ctx context.Context, id string) (bool, error) {
	var devices []struct {
		Name string `json:"name"`
	}
	// Devices that have an id are the children of this object.
	if err := m.run(ctx, "qom-list", map[string]any{"path": "/machine/peripheral"}, &devices); err != nil {
		return false, err
	}
	for _, d := range devices {
		if d.Name == id {
			return true, nil
		}
	}
	return false, nil
}
