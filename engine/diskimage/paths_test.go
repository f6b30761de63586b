package diskimage_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/job"
)

// coarse is a folder as a share shows it: with times in units of 100 ns.
type coarse struct{ share.File }

func (f coarse) ModTime() time.Time { return f.File.ModTime().Truncate(100 * time.Nanosecond) }

// TestTwoPaths: an image that is read from a share is not overwritten by its
// local path, and is the parent of an output beside it by either.
func TestTwoPaths(t *testing.T) {
	dir := t.TempDir()
	unpack(t, dir, "ntfs-fixed.vhdx")
	path := filepath.Join(dir, "ntfs-fixed.vhdx")
	if err := os.Chtimes(path, created, created.Add(123456789)); err != nil {
		t.Fatal(err)
	}
	image := read(t, path)
	local := store(t, dir)
	in := diskimage.Input{Name: "ntfs-fixed.vhdx", Folder: chain.FolderOf(func(ctx context.Context, name string) (coarse, error) {
		f, err := local.Open(ctx, name)
		return coarse{f}, err
	})}
	c := open(t, in)

	replace := output(t, dir, "ntfs-fixed.vhdx", chain.VHDX, "")
	replace.Replace = true
	device := output(t, dir, "", chain.Raw, "")
	device.Device = path
	for _, out := range []diskimage.Output{replace, device} {
		if _, err := diskimage.Convert(t.Context(), c, out, silent); job.CodeOf(err) != job.OutputExists {
			t.Errorf("%s%s: %v", out.Name, out.Device, err)
		}
		if !bytes.Equal(read(t, path), image) || len(names(t, dir)) != 1 {
			t.Fatalf("the source is overwritten; there is %q", names(t, dir))
		}
	}
	child := output(t, dir, "child.avhdx", chain.VHDX, "")
	child.Parent = c
	if _, err := diskimage.Create(t.Context(), child, c.Size(), c.SectorSize()); err != nil {
		t.Error(err)
	}
}
