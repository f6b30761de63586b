package ntfsresize_test

import (
	"testing"

	"imageport/engine/disk/overlay"
	"imageport/engine/ntfsresize"
)

// BenchmarkMakeRoomForESP shrinks a volume of 4 GiB by 260 MiB, of which 200 MiB
// are files in pieces. It reports what that changes.
func BenchmarkMakeRoomForESP(b *testing.B) {
	const size, room = 4096 * mib, 260 * mib
	path := format(b, size, "-s", "512", "-c", "4096")
	occupied(b, path, 64*mib, size-room, func() {
		mounted(b, path, func(root string) { grow(b, root, 20, 100, 100<<10) })
	})
	parent := openImage(b, path)
	b.ResetTimer()
	for range b.N {
		child := overlay.New(parent)
		plan, err := ntfsresize.Tool{}.Shrink(b.Context(), child, size, size-room, nil)
		if err != nil {
			b.Fatal(err)
		}
		if child.DirtyBytes() > plan.MaxWritten {
			b.Errorf("%d bytes written, want at most %d", child.DirtyBytes(), plan.MaxWritten)
		}
		b.ReportMetric(float64(child.DirtyBytes())/mib, "MiB-written")
		if err := child.DropUnchanged(); err != nil {
			b.Fatal(err)
		}
		blocks := map[int64]bool{}
		for p := range child.Pages() {
			blocks[p.Offset/(2*mib)] = true
		}
		b.ReportMetric(float64(child.DirtyBytes())/mib, "MiB-changed")
		b.ReportMetric(float64(plan.MovedBytes)/mib, "MiB-moved")
		b.ReportMetric(float64(plan.JournalBytes)/mib, "MiB-journal")
		b.ReportMetric(float64(plan.MaxWritten)/mib, "MiB-planned")
		b.ReportMetric(float64(2*len(blocks)), "MiB-in-2MiB-blocks")
	}
}
