package convert

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"imageport/job"
	"imageport/testkit/ovmf"
	"imageport/testkit/winimage"
)

var full = flag.Bool("full", false, "convert and boot every combination of layout, placement and container, instead of two containers and one boot of each layout")

// storedAs is how a disk is stored, for the matrix.
type storedAs struct {
	name, ext string
	versions  int
}

var containers = []storedAs{{"VHDX", "vhdx", 0}, {"VHD", "vhd", 0}, {"chain of VHDXs", "vhdx", 2}, {"chain of VHDs", "vhd", 1}}

// TestMatrix converts every layout with every placement that it allows in two of
// the containers that can hold it, in turn, and has firmware boot one of each
// layout; with -full it is all containers, and all of them booted.
func TestMatrix(t *testing.T) {
	var converted sync.Map // placement -> *atomic.Int64
	t.Run("layouts", func(t *testing.T) {
		for i, l := range winimage.Layouts() {
			for _, placement := range job.ESPPlacements {
				var fit []storedAs
				for _, c := range containers {
					if c.ext == "vhdx" || l.Spec.SectorSize != 4096 { // a VHD has sectors of 512 bytes
						fit = append(fit, c)
					}
				}
				for k, c := range fit {
					boot := *full || k == i%len(fit)
					if !boot && k != (i+1)%len(fit) {
						continue
					}
					t.Run(fmt.Sprintf("%s, %s, %s", l.Name, placement, c.name), func(t *testing.T) {
						t.Parallel()
						if convertAndBoot(t, l.Spec, placement, c, boot) {
							n, _ := converted.LoadOrStore(placement, new(atomic.Int64))
							n.(*atomic.Int64).Add(1)
						}
					})
				}
			}
		}
	})
	least := int64(4)
	if *full {
		least = 8
	}
	for _, placement := range job.ESPPlacements {
		n, _ := converted.LoadOrStore(placement, new(atomic.Int64))
		if got := n.(*atomic.Int64).Load(); got < least {
			t.Errorf("%d disks were converted with the placement %s", got, placement)
		}
	}
}

// convertAndBoot reports whether the layout allows the placement.
func convertAndBoot(t *testing.T, spec winimage.Spec, placement job.ESPPlacement, c storedAs, boot bool) bool {
	img, err := winimage.Cached(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	f, task := emptyFolder(t), newTask()
	task.Options.ESPPlacement = []job.ESPPlacement{placement}
	task.Input, task.Output = "win10."+c.ext, "win10-uefi.a"+c.ext
	path := filepath.Join(f.path, task.Input)
	if c.ext == "vhd" {
		task.Format = job.FormatVHD
		qemuImg(t, "convert", "-f", "raw", "-O", "vpc", "-o", "force_size", img.Path, path)
	} else if err := img.VHDX(t.Context(), path, winimage.Dynamic); err != nil {
		t.Fatal(err)
	}
	for i := range c.versions {
		name := fmt.Sprintf("win10.%d.a%s", i+1, c.ext)
		f.emptyChild(t, task.Input, name)
		task.Input = name
	}
	if boot && !*full { // of the placements, the one that is chosen where all are allowed
		open := task
		open.Options.ESPPlacement = nil
		admitted, err := Preflight(t.Context(), f.store, open)
		if err != nil {
			t.Fatal(err)
		}
		boot = admitted.Preview.ESPPlacement == placement
	}
	composed, err := f.run(t, task)
	switch code := job.CodeOf(err); {
	case code == job.NoSpaceForESP, code == job.NoRoomForGPT, code == job.ShrinkBlocked:
		return false // the layout does not allow it
	case err != nil:
		t.Fatal(err)
	}
	if r := composed.Result; r.SizeBytes > 2*r.ChangedBytes+8<<20 && c.ext == "vhdx" {
		t.Logf("output of %d bytes for %d changed ones", r.SizeBytes, r.ChangedBytes)
	}
	if !boot {
		return true // Compose has verified it
	}
	f.decodesAlike(t, task, c.ext)
	report, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: f.flat(t, task), SectorSize: spec.SectorSize})
	if err != nil {
		t.Fatalf("%v\n%s", err, report.Serial)
	}
	if !report.Passed {
		t.Errorf("firmware does not reach Windows:\n%s", report)
	}
	return true
}

// flat is the output as a raw disk, with holes for zeros.
func (f folder) flat(t *testing.T, task Task) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "flat.img")
	c := f.openImage(t, task.Output)
	out, err := os.Create(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := out.Truncate(c.Size()); err != nil {
		t.Fatal(err)
	}
	b, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < c.Size(); off += int64(len(b)) {
		n := min(int64(len(b)), c.Size()-off)
		if _, err := c.ReadAt(b[:n], off); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if !bytes.Equal(b[:n], zeros[:n]) {
			if _, err := out.WriteAt(b[:n], off); err != nil {
				t.Fatal(err)
			}
		}
	}
	return raw
}
