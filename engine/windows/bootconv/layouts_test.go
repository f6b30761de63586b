package bootconv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/disk/gpt"
	"imageport/engine/disk/overlay"
	"imageport/engine/ntfsresize"
	"imageport/engine/windows/bootcheck"
	"imageport/job"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/windisk"
)

// resizer is ntfsresize.
type resizer struct{ ntfsresize.Tool }

func (r resizer) Try(ctx context.Context, volume io.ReaderAt, size, newSize int64) (ShrinkEffect, error) {
	p, err := r.Tool.Plan(ctx, volume, size, newSize)
	return ShrinkEffect{p.MovedBytes, p.MaxWritten}, coded(err)
}

func (r resizer) Shrink(ctx context.Context, volume ReadWriterAt, size, newSize int64, progress func(done, total int64)) error {
	_, err := r.Tool.Shrink(ctx, volume, size, newSize, progress)
	return coded(err)
}

func coded(err error) error {
	if errors.Is(err, ntfsresize.ErrTooSmall) || errors.Is(err, ntfsresize.ErrSize) || errors.Is(err, ntfsresize.ErrBlocked) {
		return job.Errorf(job.ShrinkBlocked, "", "%w", err)
	}
	return err
}

// openSpec gives a disk that may be changed.
func openSpec(t *testing.T, spec winimage.Spec) *overlay.Overlay {
	t.Helper()
	_, d := windisk.Cached(t, spec)
	return d
}

// TestLayouts converts every layout with every placement that it allows, twice.
func TestLayouts(t *testing.T) {
	used := map[job.ESPPlacement]int{}
	for _, l := range winimage.Layouts() {
		t.Run(l.Name, func(t *testing.T) {
			d := openSpec(t, l.Spec)
			im, err := Inspect(d)
			if err != nil {
				t.Fatal(err)
			}
			first := job.ESPPlacement("")
			for _, placements := range [][]job.ESPPlacement{nil, {job.PlaceGap}, {job.PlaceReuse}, {job.PlaceShrink}} {
				opt := Options{UEFIOptions: job.UEFIOptions{ESPPlacement: placements}, Shrinker: resizer{}}
				p, err := im.Plan(t.Context(), seed, opt)
				if err != nil {
					// Room for the partition table may be had by shrinking only.
					if code := job.CodeOf(err); placements == nil || code != job.NoSpaceForESP && code != job.NoRoomForGPT && code != job.ShrinkBlocked {
						t.Errorf("%v: %v", placements, err)
					}
					continue
				}
				if placements == nil {
					first = p.ESP.Placement
				} else if p.ESP.Placement != placements[0] {
					t.Errorf("%v: placed by %s", placements, p.ESP.Placement)
				}
				if placements != nil && p.ESP.Placement == first {
					continue // seen already
				}
				used[p.ESP.Placement]++
				t.Run(string(p.ESP.Placement), func(t *testing.T) { checkConversion(t, d, im, p, opt) })
			}
		})
	}
	for _, p := range job.ESPPlacements {
		if used[p] < 2 {
			t.Errorf("placement %s was used %d times", p, used[p])
		}
	}
}

// checkConversion applies a plan, has the result checked, and does it again.
func checkConversion(t *testing.T, d *overlay.Overlay, im *Image, p *Plan, opt Options) {
	out := apply(t, d, im, p)
	if _, err := bootcheck.Check(t.Context(), out, p.Expected()); err != nil {
		t.Error(err)
	}
	if int64(out.DirtyBytes()) > p.EstimatedBytes {
		t.Errorf("%d bytes changed, estimated were %d", out.DirtyBytes(), p.EstimatedBytes)
	}
	again, err := Inspect(d)
	if err != nil {
		t.Fatal(err)
	}
	p2, err := again.Plan(t.Context(), seed, opt)
	if err != nil {
		t.Fatal(err)
	}
	if p2.Digest() != p.Digest() {
		t.Error("the same disk and seed gave another plan")
	}
	samePages(t, out, apply(t, d, again, p2))
	mbr, err := gpt.ReadMBR(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, before := range mbr.Partitions {
		if before.Extended() {
			continue
		}
		for _, after := range p.table.Entries {
			if after.Index == before.Index && after.FirstLBA != before.FirstLBA {
				t.Errorf("partition %d began at sector %d, now at %d", before.Index+1, before.FirstLBA, after.FirstLBA)
			}
		}
	}
	if len(p.Shrinks) == 0 {
		pages := 0
		for _, w := range p.Writes {
			if strings.HasPrefix(w.What, `\`) {
				pages += int(w.Length+page-1) / page
			}
		}
		if pages > 16 && !strings.Contains(strings.Join(p.Warnings, " "), "log") {
			t.Errorf("%d pages of C: change, want at most 16", pages)
		}
	}
	if _, err := json.Marshal(p); err != nil {
		t.Error(err)
	}
}

func apply(t *testing.T, d disk.Disk, im *Image, p *Plan) *overlay.Overlay {
	t.Helper()
	out := overlay.New(d)
	if err := im.Apply(t.Context(), p, out, resizer{}, func(string, int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	if err := out.DropUnchanged(); err != nil {
		t.Fatal(err)
	}
	return out
}

// samePages compares the changes of two overlays.
func samePages(t *testing.T, a, b *overlay.Overlay) {
	t.Helper()
	pages := map[int64][]byte{}
	for p := range a.Pages() {
		pages[p.Offset] = bytes.Clone(p.Data)
	}
	var differ []string
	for p := range b.Pages() {
		if !bytes.Equal(pages[p.Offset], p.Data) {
			differ = append(differ, fmt.Sprint(p.Offset))
		}
		delete(pages, p.Offset)
	}
	for off := range pages {
		differ = append(differ, fmt.Sprint(off))
	}
	if len(differ) > 0 {
		t.Errorf("two runs differ in %d pages, such as at %s", len(differ), strings.Join(differ[:min(5, len(differ))], ", "))
	}
}

// TestRefusals has every disk refused that must be, with its code and a remedy.
func TestRefusals(t *testing.T) {
	for _, r := range winimage.Refusals() {
		t.Run(r.Name, func(t *testing.T) {
			d := openSpec(t, r.Spec)
			im, err := Inspect(d)
			inspected := err
			if err == nil {
				_, err = im.Plan(t.Context(), seed, Options{Shrinker: resizer{}})
			}
			if e, ok := errors.AsType[*job.Error](err); !ok || string(e.Code) != r.Code || e.Remedy == "" {
				t.Errorf("got %v, want %s", err, r.Code)
			}
			if d.DirtyBytes() != 0 {
				t.Error("the disk was written to")
			}
			// Such a disk is described all the same, with what Inspect has against it.
			about, err := Describe(d)
			if err != nil {
				t.Fatal(err)
			}
			if about.Convertible != (inspected == nil) || about.Refusal != nil && string(about.Refusal.Code) != r.Code || about.Refusal == nil && inspected != nil {
				t.Errorf("convertible %v, refused for %v; want %v", about.Convertible, about.Refusal, inspected)
			}
		})
	}
}
