package ovmf

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/testkit/winimage"
)

// A BIOS starts the boot sector of the active partition, and the oracle in it
// notices where that should not be.
func TestBIOS(t *testing.T) {
	img, err := winimage.Cached(t.Context(), winimage.Small())
	if err != nil {
		t.Fatal(err)
	}
	report, err := Boot(t.Context(), Options{Disk: img.Path, BIOS: true})
	if err != nil || !report.Passed {
		t.Errorf("%v\n%s%s", err, report, report.Serial)
	}
	for what, damage := range map[string]struct {
		at    int64
		bytes string
		says  string
	}{
		"not active":       {446, "\x00", "FAIL mbr"},
		"begins elsewhere": {img.Partitions[0].StartBytes + 0x1c, "\x01", "FAIL boot-sector"},
	} {
		t.Run(what, func(t *testing.T) {
			broken := filepath.Join(t.TempDir(), "broken.raw")
			in, err := os.Open(img.Path)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			out, err := os.Create(broken)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			// As much as a BIOS reads; the rest is a hole.
			if _, err := io.CopyN(out, in, img.Partitions[0].StartBytes+1<<20); err != nil {
				t.Fatal(err)
			}
			if err := out.Truncate(img.Spec.SizeBytes); err != nil {
				t.Fatal(err)
			}
			if _, err := out.WriteAt([]byte(damage.bytes), damage.at); err != nil {
				t.Fatal(err)
			}
			report, err := Boot(t.Context(), Options{Disk: broken, BIOS: true})
			if err != nil || !strings.Contains(report.Verdict, damage.says) {
				t.Errorf("the verdict is %q, %v; want %q\n%s", report.Verdict, err, damage.says, report.Serial)
			}
		})
	}
}
