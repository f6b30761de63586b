package copier_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/disk/copier"
)

// situation is a random copy and what must come out.
type situation struct {
	src   disk.Disk
	dst   copier.Target
	mem   *target // behind dst
	opt   copier.Options
	want  []byte
	skips []copier.Range
}

func newSituation(t *testing.T, seed uint64) situation {
	rng := rand.New(rand.NewPCG(seed, 1))
	sectors := rng.IntN(4000)
	src := newDisk(rng, sectors)
	s := situation{src: src, skips: randomSkips(rng, sectors)}
	if rng.IntN(4) == 0 {
		s.src = &src.plainDisk
	}
	s.want = without(src.data, s.skips)
	s.opt = copier.Options{
		Parallel:     1 + rng.IntN(9),
		UnitSize:     copier.MinUnitSize << rng.IntN(4),
		TargetIsZero: rng.IntN(2) == 0,
		Skip:         ranges(s.skips),
		Source:       "golden",
		CRC:          rng.IntN(2) == 0,
		SHA256:       rng.IntN(3) == 0,
	}
	s.mem = newTarget(t, len(src.data), !s.opt.TargetIsZero)
	s.dst = s.mem
	if rng.IntN(2) == 0 {
		s.dst = &rangerTarget{target: s.mem, unsupported: rng.IntN(3) == 0}
	}
	return s
}

// verify checks a complete copy.
func (s situation) verify(report copier.Report, mem *target) error {
	if !bytes.Equal(mem.durable, s.want) {
		return errors.New("the target differs from the source")
	}
	size := int64(len(s.want))
	if report.DoneBytes != size || report.TotalBytes != size {
		return fmt.Errorf("%d of %d bytes are done, expected %d", report.DoneBytes, report.TotalBytes, size)
	}
	if want := crc32.Checksum(s.want, crc32.MakeTable(crc32.Castagnoli)); s.opt.CRC && report.CRC32C != want {
		return fmt.Errorf("CRC-32C %08x, expected %08x", report.CRC32C, want)
	}
	if want := sha256.Sum256(s.want); s.opt.SHA256 && !bytes.Equal(report.SHA256, want[:]) {
		return fmt.Errorf("SHA-256 %x, expected %x", report.SHA256, want)
	}
	return nil
}

// TestAgainstModel copies random disks in random ways.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(300) {
		s := newSituation(t, seed)
		var last copier.Progress
		s.opt.Progress = func(p copier.Progress) {
			if p.DoneBytes <= last.DoneBytes || p.DoneBytes > p.TotalBytes || p.ReadBytes < last.ReadBytes {
				t.Errorf("seed %d: progress from %+v to %+v", seed, last, p)
			}
			last = p
		}
		report, err := copier.Copy(context.Background(), s.dst, s.src, s.opt)
		if err == nil {
			err = s.verify(report, s.mem)
		}
		if err != nil {
			t.Fatalf("seed %d, %+v: %v", seed, s.opt, err)
		}
		if report.WrittenBytes != s.mem.written {
			t.Errorf("seed %d: %d bytes written, the report says %d", seed, s.mem.written, report.WrittenBytes)
		}
		if report.TotalBytes > 0 && last != report.Progress {
			t.Errorf("seed %d: last progress %+v, report %+v", seed, last, report.Progress)
		}
	}
}

// TestReadsOnlyWhatIsStored looks at the requests of a copy by one reader: in
// the order of the files, nothing of holes and skipped ranges, and no zeros
// written to a target that has them.
func TestReadsOnlyWhatIsStored(t *testing.T) {
	const unit = 1 << 20
	src := &mappedDisk{failExtent: -1}
	src.data = make([]byte, 8*unit)
	for _, at := range []int{0, 2 * unit, 3 * unit, 6 * unit} {
		src.data[at], src.data[at+unit-1] = 1, 1 // two 64 KiB blocks that are not zero
	}
	src.extents = []disk.Extent{
		{Offset: 0, Length: unit, Layer: 1, FileOffset: 9 << 20},
		{Offset: unit, Length: unit, Kind: disk.ExtentZero},
		{Offset: 2 * unit, Length: 2 * unit, Layer: 0, FileOffset: 7 << 20},
		{Offset: 4 * unit, Length: 2 * unit, Layer: 0, FileOffset: 1 << 20}, // skipped: 4, half of 5
		{Offset: 6 * unit, Length: 2 * unit, Layer: 1, FileOffset: 4 << 20},
	}
	var got []copier.Range
	src.read = func(off, n int64) { got = append(got, copier.Range{Offset: off, Length: n}) }
	mem := newTarget(t, len(src.data), false)
	report, err := copier.Copy(context.Background(), mem, src, copier.Options{
		Parallel: 1, TargetIsZero: true,
		Skip: ranges([]copier.Range{{Offset: 4 * unit, Length: unit + unit/2}}),
	})
	if err != nil || !bytes.Equal(mem.durable, src.data) {
		t.Fatalf("copy: %v", err)
	}
	want := []copier.Range{
		{Offset: 5*unit + unit/2, Length: unit / 2},
		{Offset: 2 * unit, Length: unit}, {Offset: 3 * unit, Length: unit},
		{Offset: 6 * unit, Length: unit}, {Offset: 7 * unit, Length: unit},
		{Offset: 0, Length: unit},
	}
	if !slices.Equal(got, want) {
		t.Errorf("read %v,\nexpected %v", got, want)
	}
	if report.WrittenBytes != 8*64<<10 || report.SkippedBytes != unit+unit/2 || mem.syncs != 1 {
		t.Errorf("report %+v, %d syncs", report, mem.syncs)
	}
}

// TestCoalesces: neighbours that are not zero are one write, and small gaps
// are read along.
func TestCoalesces(t *testing.T) {
	src := &mappedDisk{failExtent: -1}
	src.data = bytes.Repeat([]byte{1}, 1<<20)
	clear(src.data[256<<10 : 320<<10])
	src.extents = []disk.Extent{
		{Offset: 0, Length: 100 << 10}, {Offset: 100 << 10, Length: 924 << 10, Layer: 1},
	}
	mem := newTarget(t, len(src.data), true)
	dst := &rangerTarget{target: mem}
	if _, err := copier.Copy(context.Background(), dst, src, copier.Options{Skip: ranges([]copier.Range{{Offset: 512, Length: 512}})}); err != nil {
		t.Fatal(err)
	}
	if src.reads.Load() != 1 || mem.ops != 4 || dst.zeroed != 64<<10 {
		t.Errorf("%d reads, %d operations of the target (%d bytes zeroed), expected 1 read, 2 writes, 1 zeroing of 64 KiB and a sync", src.reads.Load(), mem.ops, dst.zeroed)
	}
	if !bytes.Equal(mem.durable, without(src.data, []copier.Range{{Offset: 512, Length: 512}})) {
		t.Error("the target differs")
	}
}

func TestRefusals(t *testing.T) {
	type extents = []disk.Extent
	noParent := extents{{Length: 4096, Kind: disk.ExtentParent}}
	state := func() *copier.State { return &copier.State{Source: "golden", SizeBytes: 4096, UnitBytes: 1 << 20} }
	with := func(change func(*copier.State)) copier.Options {
		s := state()
		change(s)
		return copier.Options{Source: "golden", Resume: s}
	}
	for name, test := range map[string]struct {
		opt     copier.Options
		extents extents
		want    error
	}{
		"unit size no power of two": {opt: copier.Options{UnitSize: 3 << 20}, want: copier.ErrOptions},
		"unit size small":           {opt: copier.Options{UnitSize: 4096}, want: copier.ErrOptions},
		"unit size big":             {opt: copier.Options{UnitSize: 1 << 30}, want: copier.ErrOptions},
		"unit size of a state":      {opt: with(func(s *copier.State) { s.UnitBytes = 1 << 62 }), want: copier.ErrOptions},
		"parallel negative":         {opt: copier.Options{Parallel: -1}, want: copier.ErrOptions},
		"too much at a time":        {opt: copier.Options{Parallel: 65, UnitSize: 1 << 20}, want: copier.ErrOptions},
		"parallel big":              {opt: copier.Options{Parallel: 1 << 20}, want: copier.ErrOptions},
		"checkpoints negative":      {opt: copier.Options{CheckpointEvery: -1}, want: copier.ErrOptions},
		"checkpoint of what":        {opt: copier.Options{Checkpoint: func(copier.State) error { return nil }}, want: copier.ErrOptions},
		"resume of what":            {opt: copier.Options{Resume: state()}, want: copier.ErrOptions},

		"state of another source":    {opt: with(func(s *copier.State) { s.Source = "bronze" }), want: copier.ErrState},
		"state of another size":      {opt: with(func(s *copier.State) { s.SizeBytes = 8192 }), want: copier.ErrState},
		"state of another unit size": {opt: copier.Options{Source: "golden", UnitSize: 2 << 20, Resume: state()}, want: copier.ErrState},
		"state without CRC":          {opt: copier.Options{Source: "golden", CRC: true, Resume: state()}, want: copier.ErrState},

		"parent missing":           {extents: noParent, want: copier.ErrRanges},
		"extents end early":        {extents: extents{{Length: 2048}}, want: copier.ErrRanges},
		"extents go on":            {extents: extents{{Length: 8192}}, want: copier.ErrRanges},
		"extents with a gap":       {extents: extents{{Length: 512}, {Offset: 1024, Length: 3072}}, want: copier.ErrRanges},
		"extents overlap":          {extents: extents{{Length: 1024}, {Offset: 512, Length: 3584}}, want: copier.ErrRanges},
		"extent of nothing":        {extents: extents{{Length: 0}, {Length: 4096}}, want: copier.ErrRanges},
		"extent negative":          {extents: extents{{Length: -512}}, want: copier.ErrRanges},
		"extent in a sector":       {extents: extents{{Length: 100}, {Offset: 100, Length: 3996}}, want: copier.ErrRanges},
		"skip in a sector":         {opt: copier.Options{Skip: ranges([]copier.Range{{Length: 100}})}, want: copier.ErrRanges},
		"skip behind the disk":     {opt: copier.Options{Skip: ranges([]copier.Range{{Offset: 512, Length: 4096}})}, want: copier.ErrRanges},
		"skip nothing":             {opt: copier.Options{Skip: ranges([]copier.Range{{Offset: 512}})}, want: copier.ErrRanges},
		"skip before the disk":     {opt: copier.Options{Skip: ranges([]copier.Range{{Offset: -512, Length: 512}})}, want: copier.ErrRanges},
		"skip not ascending":       {opt: copier.Options{Skip: ranges([]copier.Range{{Offset: 512, Length: 512}, {Length: 512}})}, want: copier.ErrRanges},
		"skip that cannot be told": {opt: copier.Options{Skip: brokenRanges()}, want: errBroken},
	} {
		src := &mappedDisk{failExtent: -1, extents: test.extents}
		if src.extents == nil {
			src.extents = extents{{Length: 4096}}
		}
		src.data = make([]byte, 4096)
		report, err := copier.Copy(context.Background(), newTarget(t, 4096, true), src, test.opt)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, expected %v", name, err, test.want)
		}
		if report.DoneBytes != 0 || report.SHA256 != nil {
			t.Errorf("%s: a report in spite of the error: %+v", name, report)
		}
	}
}

func brokenRanges() iter.Seq2[copier.Range, error] {
	return func(yield func(copier.Range, error) bool) { yield(copier.Range{}, errBroken) }
}
