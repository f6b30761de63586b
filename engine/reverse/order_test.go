package reverse

import (
	"context"
	"encoding/json"
	"iter"
	"math/rand/v2"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/disk/copier"
	"imageport/testkit/disktest"
)

// scattered is a disk of zeros whose blocks are stored in any order, with holes
// between them.
type scattered struct {
	disktest.ZeroDisk
	at []int64 // of each block in the file, -1 for a hole
}

const scatteredBlock = 2 << 20

func (d scattered) Extents(off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for i, at := range d.at {
			e := disk.Extent{Offset: int64(i) * scatteredBlock, Length: scatteredBlock, Kind: disk.ExtentZero}
			if at >= 0 {
				e.Kind, e.Layer, e.FileOffset = disk.ExtentData, i%3, at*scatteredBlock
			}
			if e.Offset >= off && e.Offset < off+n && !yield(e, nil) {
				return
			}
		}
	}
}

// However an image is scattered, the states of its copy fit into a heartbeat.
func TestStatesAreShort(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const blocks = 5 << 10 // 10 GiB, more than the copier plans at a time
	for name, holes := range map[string]func(i int) bool{
		"no holes":    func(int) bool { return false },
		"every other": func(i int) bool { return i%2 == 0 },
		"at random":   func(int) bool { return rng.IntN(3) == 0 },
		"long ones":   func(i int) bool { return i/200%2 == 0 },
	} {
		d := scattered{disktest.Zeros(blocks*scatteredBlock, 512), make([]int64, blocks)}
		for i, at := range rng.Perm(blocks) {
			if d.at[i] = int64(at); holes(i) {
				d.at[i] = -1
			}
		}
		longest, states := 0, 0
		_, err := copier.Copy(context.Background(), nowhere{}, inWindows{d}, copier.Options{
			TargetIsZero: true, CRC: true, Source: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", CheckpointEvery: stateStep,
			Checkpoint: func(s copier.State) error {
				text, err := json.Marshal(s)
				longest, states = max(longest, len(text)), states+1
				return err
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d states of at most %d bytes", name, states, longest)
		if longest > 12<<10 {
			t.Errorf("%s: a state of %d bytes", name, longest)
		}
	}
}
