package convert

import (
	"path/filepath"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/disk/gpt"
	"imageport/engine/ntfsresize"
	"imageport/job"
	"imageport/testkit/winimage"
)

// Without ntfsresize the refusal says so: there is nothing to try again.
func TestShrinkWithoutTool(t *testing.T) {
	f := newFolder(t, winimage.Small())
	im, err := openImage(t.Context(), f.store, newTask())
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	mbr, err := gpt.ReadMBR(im.Chain)
	if err != nil {
		t.Fatal(err)
	}
	c := mbr.Partitions[1]
	size := int64(c.Sectors) * 512
	s := shrinker{ntfsresize.Tool{Path: filepath.Join(t.TempDir(), "ntfsresize")}}
	if _, err := s.Try(t.Context(), disk.Section(im.Chain, int64(c.FirstLBA)*512, size), size, size-64<<20); job.CodeOf(err) != job.ToolMissing {
		t.Errorf("got %v", err)
	}
}
