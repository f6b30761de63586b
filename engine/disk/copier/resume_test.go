package copier_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"

	"imageport/engine/disk/copier"
)

// checkpoint is what survives a crash: the state as it was told, in JSON, and
// the target with it.
type checkpoint struct {
	state  []byte
	target *target
}

// TestResumeFromAnyCheckpoint copies with checkpoints, lets the power fail at
// each of them, and continues: the bytes and digests must be the same, and
// what was done must not be done again.
func TestResumeFromAnyCheckpoint(t *testing.T) {
	resumed := 0
	for seed := range uint64(120) {
		s := newSituation(t, seed)
		rng := rand.New(rand.NewPCG(seed, 2))
		s.opt.CheckpointEvery = 1 + rng.Int64N(4*int64(s.opt.UnitSize))
		var points []checkpoint
		s.opt.Checkpoint = func(state copier.State) error {
			b, err := json.Marshal(state)
			points = append(points, checkpoint{b, s.mem.crash(rng)})
			return err
		}
		report, err := copier.Copy(context.Background(), s.dst, s.src, s.opt)
		if err == nil {
			err = s.verify(report, s.mem)
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		before := int64(-1)
		for i, point := range points {
			s.opt.Checkpoint = nil
			s.opt.Parallel = 1 + rng.IntN(9)
			done := s.resume(t, point)
			if done < before || i == len(points)-1 && done != int64(len(s.want)) {
				t.Errorf("seed %d, checkpoint %d of %d: %d bytes done, %d before", seed, i, len(points), done, before)
			}
			before = done
			resumed++
		}
	}
	t.Logf("resumed %d times", resumed)
}

// resume continues on the target of the checkpoint, verifies the result and
// gives how many bytes were done at the checkpoint.
func (s situation) resume(t *testing.T, point checkpoint) int64 {
	t.Helper()
	if point.state != nil {
		s.opt.Resume = new(copier.State)
		if err := json.Unmarshal(point.state, s.opt.Resume); err != nil {
			t.Fatalf("%s: %v", point.state, err)
		}
		s.opt.UnitSize = 0 // the state's
	}
	report, err := copier.Copy(context.Background(), point.target, s.src, s.opt)
	if err == nil {
		err = s.verify(report, point.target)
	}
	if err != nil {
		t.Fatalf("resumed from %s: %v", point.state, err)
	}
	if s.opt.Resume == nil {
		return 0
	}
	if report.ResumedBytes != s.opt.Resume.DoneBytes() || report.ReadBytes > report.TotalBytes-report.ResumedBytes {
		t.Errorf("resumed at %d of %d bytes: %d read, report %+v", s.opt.Resume.DoneBytes(), report.TotalBytes, report.ReadBytes, report)
	}
	return report.ResumedBytes
}

// TestFailureAnywhere lets one read, write, zeroing, sync or checkpoint fail,
// and then continues from the last checkpoint, on a target that lost power.
func TestFailureAnywhere(t *testing.T) {
	failures := 0
	for seed := range uint64(250) {
		s := newSituation(t, seed)
		rng := rand.New(rand.NewPCG(seed, 3))
		s.opt.CheckpointEvery = 1 + rng.Int64N(4*int64(s.opt.UnitSize))
		last, checkpoints, failAt := checkpoint{}, 0, 0
		src, _ := s.src.(*mappedDisk)
		switch kind := rng.IntN(4); {
		case kind == 0 && src != nil:
			src.failAt = 1 + rng.Int64N(8)
		case kind == 1 && src != nil:
			src.failExtent = rng.IntN(len(src.extents) + 1)
		case kind == 2:
			failAt = 1 + rng.IntN(4)
		default:
			s.mem.failAt = 1 + rng.IntN(16)
		}
		s.opt.Checkpoint = func(state copier.State) error {
			if checkpoints++; checkpoints == failAt {
				return errBroken
			}
			var err error
			last.state, err = json.Marshal(state)
			return err
		}
		report, err := copier.Copy(context.Background(), s.dst, s.src, s.opt)
		if err == nil {
			if err := s.verify(report, s.mem); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			continue // the failure lay behind the end
		}
		failures++
		if !errors.Is(err, errBroken) || report.DoneBytes != 0 {
			t.Fatalf("seed %d: %v, report %+v", seed, err, report)
		}
		if src != nil {
			src.failAt, src.failExtent = 0, -1
		}
		last.target = s.mem.crash(rng)
		s.opt.Checkpoint = nil
		s.resume(t, last)
	}
	if failures < 100 {
		t.Errorf("only %d copies failed", failures)
	}
}

// TestStateJSON: what does not fit together is refused.
func TestStateJSON(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":            `{`,
		"version":            `{"version":2,"source":"s","sizeBytes":1048576,"unitBytes":1048576,"done":""}`,
		"size":               `{"version":1,"source":"s","sizeBytes":-1,"unitBytes":1048576,"done":""}`,
		"unit size":          `{"version":1,"source":"s","sizeBytes":1,"unitBytes":1000,"done":""}`,
		"unit behind disk":   `{"version":1,"source":"s","sizeBytes":1048576,"unitBytes":1048576,"done":"0-1"}`,
		"unit far behind":    `{"version":1,"source":"s","sizeBytes":1048576,"unitBytes":1048576,"done":"0-9223372036854775807"}`,
		"negative unit":      `{"version":1,"source":"s","sizeBytes":1048576,"unitBytes":1048576,"done":"-1-0"}`,
		"backwards":          `{"version":1,"source":"s","sizeBytes":9048576,"unitBytes":1048576,"done":"3-2"}`,
		"overlap":            `{"version":1,"source":"s","sizeBytes":9048576,"unitBytes":1048576,"done":"0-2 2-3"}`,
		"touching":           `{"version":1,"source":"s","sizeBytes":9048576,"unitBytes":1048576,"done":"0-2 3-3"}`,
		"no number":          `{"version":1,"source":"s","sizeBytes":9048576,"unitBytes":1048576,"done":"0"}`,
		"CRC missing":        `{"version":1,"source":"s","sizeBytes":9048576,"unitBytes":1048576,"crc32c":true,"done":"0-1"}`,
		"CRC unexpected":     `{"version":1,"source":"s","sizeBytes":9048576,"unitBytes":1048576,"done":"0-1:00000000"}`,
		"CRC no number":      `{"version":1,"source":"s","sizeBytes":9048576,"unitBytes":1048576,"crc32c":true,"done":"0-1:x"}`,
		"SHA-256 no prefix":  `{"version":1,"source":"s","sizeBytes":9048576,"unitBytes":1048576,"done":"1-2","sha256":"AAAA"}`,
		"SHA-256 no state":   `{"version":1,"source":"s","sizeBytes":9048576,"unitBytes":1048576,"done":"0-2","sha256":"AAAA"}`,
		"done is not a text": `{"version":1,"source":"s","sizeBytes":9048576,"unitBytes":1048576,"done":7}`,
	} {
		var s copier.State
		if err := json.Unmarshal([]byte(text), &s); err == nil || name != "no JSON" && !errors.Is(err, copier.ErrState) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var s copier.State
	text := `{"version":1,"source":"s","sizeBytes":9048576,"unitBytes":1048576,"crc32c":true,"done":"0-2:9ae0daaf 8-8:00000001"}`
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	if s.DoneBytes() != 3<<20+(9048576-8<<20) {
		t.Errorf("%d bytes done", s.DoneBytes())
	}
	if b, err := json.Marshal(s); err != nil || string(b) != text {
		t.Errorf("%s, %v", b, err)
	}
}

// FuzzState: a state that is accepted is written and read again the same, and
// a copy either refuses it or ends.
func FuzzState(f *testing.F) {
	src := &plainDisk{data: make([]byte, 9<<16)}
	for _, sha := range []bool{false, true} {
		opt := copier.Options{Source: "s", UnitSize: 1 << 16, Parallel: 1, CRC: !sha, SHA256: sha, CheckpointEvery: 1}
		opt.Checkpoint = func(s copier.State) error {
			b, err := json.Marshal(s)
			f.Add(b)
			return err
		}
		if _, err := copier.Copy(context.Background(), newTarget(f, len(src.data), true), src, opt); err != nil {
			f.Fatal(err)
		}
	}
	f.Add([]byte(`{"version":1,"source":"s","sizeBytes":589824,"unitBytes":65536,"done":"0-2 5-6"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, again copier.State
		if json.Unmarshal(b, &s) != nil {
			return
		}
		first, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(first, &again); err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		if second, err := json.Marshal(again); err != nil || string(first) != string(second) {
			t.Fatalf("%s became %s, %v", first, second, err)
		}
		if n := s.DoneBytes(); n < 0 || n > s.SizeBytes {
			t.Fatalf("%d of %d bytes done", n, s.SizeBytes)
		}
		for _, opt := range []copier.Options{{}, {CRC: true}, {SHA256: true}} {
			opt.Source, opt.Resume, opt.Parallel = s.Source, &s, 1
			report, err := copier.Copy(context.Background(), newTarget(t, len(src.data), true), src, opt)
			if err == nil && report.DoneBytes != report.TotalBytes {
				t.Fatalf("%s: %+v", first, report)
			}
			if err != nil && !errors.Is(err, copier.ErrState) && !errors.Is(err, copier.ErrOptions) {
				t.Fatal(err)
			}
		}
	})
}
