package diskimage_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/job"
)

// loop makes a loop device over a file.
func loop(t *testing.T, path string, options ...string) string {
	t.Helper()
	device := strings.TrimSpace(string(run(t, "losetup", append(options, "--find", "--show", path)...)))
	t.Cleanup(func() { run(t, "losetup", "--detach", device) })
	return device
}

func onDevice(t *testing.T, path string) diskimage.Output {
	t.Helper()
	out := output(t, t.TempDir(), "", chain.Raw, "")
	out.Store, out.Device = nil, path
	return out
}

// TestToDevice overwrites a loop device and a file, which have other contents
// and are larger.
func TestToDevice(t *testing.T) {
	dir := t.TempDir()
	partitioned(t, dir, true, 2, make([]byte, mib))
	disk := read(t, filepath.Join(dir, "disk.raw"))
	in := input(t, dir, "disk.raw")
	in.Raw = true
	c := open(t, in)
	for _, x := range []struct {
		name    string
		more    int // bytes behind the disk
		options []string
		warns   []string
	}{
		{"file", 0, nil, nil},
		{"larger file", mib, nil, []string{"sgdisk -e"}},
		{"device", 0, []string{}, nil},
		{"larger device", 2 * mib, []string{}, []string{"sgdisk -e"}},
		{"device of large sectors", 0, []string{"--sector-size", "4096"}, []string{"sectors of 4096 bytes"}},
	} {
		old := noise(len(disk)+x.more, 42)
		path := filepath.Join(dir, x.name)
		write(t, dir, x.name, old)
		if err := os.Chtimes(path, created, created); err != nil {
			t.Fatal(err)
		}
		target := path
		if x.options != nil {
			target = loop(t, path, x.options...)
		}
		out := onDevice(t, target)
		out.SHA256 = true
		made, err := diskimage.Convert(t.Context(), c, out, silent)
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if x.options != nil {
			run(t, "blockdev", "--flushbufs", target)
		}
		if got := read(t, path); !bytes.Equal(got, append(bytes.Clone(disk), old[len(disk):]...)) {
			t.Errorf("%s: the disk differs, or what is behind it", x.name)
		}
		if made.Name != target || made.FileSizeBytes != int64(len(old)) || made.VirtualSizeBytes != int64(len(disk)) || made.SHA256 == "" || len(made.Warnings) != len(x.warns) {
			t.Errorf("%s: %+v", x.name, made)
		}
		for i, w := range x.warns {
			if i < len(made.Warnings) && !strings.Contains(made.Warnings[i], w) {
				t.Errorf("%s: %q", x.name, made.Warnings)
			}
		}
	}
}

func TestToDeviceRefusals(t *testing.T) {
	dir := t.TempDir()
	partitioned(t, dir, false, 2, make([]byte, mib))
	in := input(t, dir, "disk.raw")
	in.Raw = true
	c := open(t, in)
	write(t, dir, "small", make([]byte, mib))
	unpack(t, dir, "ntfs-fixed.vhd")
	write(t, dir, "large", make([]byte, 12*mib))
	run(t, "mkfs.ext2", "-q", filepath.Join(dir, "large"))
	mounted := loop(t, filepath.Join(dir, "large"))
	point := t.TempDir()
	run(t, "mount", "-t", "ext2", mounted, point)
	t.Cleanup(func() { run(t, "umount", point) })
	if err := os.Symlink("disk.raw", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	overImage := loop(t, filepath.Join(dir, "disk.raw"))
	before, other := read(t, filepath.Join(dir, "disk.raw")), read(t, filepath.Join(dir, "ntfs-fixed.vhd"))
	for _, x := range []struct {
		what, path string
		code       job.Code
		change     func(*diskimage.Output)
	}{
		{"missing", filepath.Join(dir, "none"), job.BadRequest, nil},
		{"a folder", dir, job.BadRequest, nil},
		{"no block device", "/dev/null", job.BadRequest, nil},
		{"small", filepath.Join(dir, "small"), job.BadRequest, nil},
		{"mounted", mounted, job.OutputInUse, nil},
		{"the image", filepath.Join(dir, "disk.raw"), job.OutputExists, nil},
		{"the image by another name", filepath.Join(dir, "link"), job.OutputExists, nil},
		{"a device over the image", overImage, job.OutputExists, nil},
		{"another image", filepath.Join(dir, "ntfs-fixed.vhd"), job.OutputExists, nil},
		{"no raw", filepath.Join(dir, "large"), job.BadRequest, func(o *diskimage.Output) { o.Format.Container = chain.VHDX }},
		{"with blocks", filepath.Join(dir, "large"), job.BadRequest, func(o *diskimage.Output) { o.Format.BlockBytes = mib }},
		{"resumed", filepath.Join(dir, "large"), job.BadRequest, func(o *diskimage.Output) { o.Resume = true }},
	} {
		out := onDevice(t, x.path)
		if x.change != nil {
			x.change(&out)
		}
		if _, err := diskimage.Convert(t.Context(), c, out, silent); job.CodeOf(err) != x.code {
			t.Errorf("%s: %v", x.what, err)
		}
	}
	if !bytes.Equal(read(t, filepath.Join(dir, "disk.raw")), before) {
		t.Error("the image has changed")
	}
	if !bytes.Equal(read(t, filepath.Join(dir, "ntfs-fixed.vhd")), other) {
		t.Error("the other image has changed")
	}
}

// TestToDeviceInterrupted: the error says that what is there is not a disk.
func TestToDeviceInterrupted(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "disk.raw", noise(4*mib, 1))
	write(t, dir, "file", make([]byte, 4*mib))
	in := input(t, dir, "disk.raw")
	in.Raw = true
	path := filepath.Join(dir, "file")
	// Written in the same moment, it would be taken for the image.
	if err := os.Chtimes(path, created, created); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var second error
	_, err := diskimage.Convert(ctx, open(t, in), onDevice(t, path), func(int64, int64) {
		if ctx.Err() == nil {
			_, second = diskimage.Convert(t.Context(), open(t, in), onDevice(t, path), silent)
		}
		cancel()
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "incomplete") {
		t.Error(err)
	}
	if job.CodeOf(second) != job.OutputInUse {
		t.Errorf("a second one: %v", second)
	}
}
