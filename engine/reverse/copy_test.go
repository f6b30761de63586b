package reverse

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
	"imageport/job"
)

func TestCopy(t *testing.T) {
	for _, container := range []chain.Container{chain.VHDX, chain.VHD} {
		for _, verify := range []string{"", job.VerifyFull} {
			s := newSite(t, container)
			s.task.Verify, s.task.SizeMB = verify, 50
			a := s.approval(t)
			if a.SizeBytes != 50*mib {
				t.Errorf("%d bytes", a.SizeBytes)
			}
			d := newDisk(a.SizeBytes + 4096) // rounded up by its platform
			steps := map[string]int64{}
			done, err := Copy(t.Context(), s.store, s.task, a, d, nil, func(p job.Progress) {
				if p.DoneBytes > p.TotalBytes {
					t.Errorf("%+v", p)
				}
				steps[p.Step] = p.DoneBytes
			}, forget)
			if err != nil {
				t.Fatal(err)
			}
			s.is(t, d)
			if steps["copy"] != virtual || steps["verify"] < virtual {
				t.Errorf("progress %v", steps)
			}
			want := sum(s.content)
			if done.CRC32C != want || done.ResumedBytes != 0 || done.BytesWritten < 15*mib || done.BytesRead < done.BytesWritten {
				t.Errorf("%+v, want CRC %s", done, want)
			}
			if want := int64(virtual); verify == "" && done.VerifiedBytes > want || verify != "" && done.VerifiedBytes != a.SizeBytes {
				t.Errorf("%s: verified %d bytes", verify, done.VerifiedBytes)
			}
		}
	}
}

// A log that is not empty is replayed, and the file stays as it is.
func TestCopyDirtyLog(t *testing.T) {
	s := newSite(t, chain.VHDX)
	path := filepath.Join(s.dir, "base.2.avhdx")
	dirtyLog(t, path, 64<<10*100) // behind the end: the contents are the same
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	admitted, err := Preflight(t.Context(), s.store, s.task)
	if err != nil {
		t.Fatal(err)
	}
	if len(admitted.Preview.Warnings) != 1 || !strings.Contains(admitted.Preview.Warnings[0], "the log of base.2.avhdx") {
		t.Errorf("warnings %q", admitted.Preview.Warnings)
	}
	d := newDisk(admitted.Approval.SizeBytes)
	if _, err := Copy(t.Context(), s.store, s.task, admitted.Approval, d, nil, quiet, forget); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the image was changed (%v)", err)
	}
}

// Power fails at each operation of the disk, and what was not synced is lost in
// parts. The next try goes on from the last state.
func TestResumeAfterEachLoss(t *testing.T) {
	s := newSite(t, chain.VHDX)
	a := s.approval(t)
	rng := rand.New(rand.NewPCG(1, 2))
	resumed := 0
	for failAt := 1; ; failAt += 1 + rng.IntN(2) {
		d := newDisk(a.SizeBytes)
		d.failAt = failAt
		var last *copier.State
		keep := func(c copier.State) { last = &c }
		_, err := copyAt(t.Context(), eager(), s.store, s.task, a, d, nil, quiet, keep)
		if err == nil {
			if failAt < 15 {
				t.Errorf("a copy takes %d operations", failAt)
			}
			break
		}
		if job.CodeOf(err) != job.PlatformError {
			t.Fatal(err)
		}
		d.crash(rng)
		had := int64(0)
		if last != nil {
			had = last.DoneBytes()
		}
		done, err := copyAt(t.Context(), eager(), s.store, s.task, a, d, throughJSON(t, last), quiet, keep)
		if err != nil {
			t.Fatalf("after operation %d: %v", failAt, err)
		}
		s.is(t, d)
		// A state with nothing but zeros proves nothing, and is worth nothing.
		if done.CRC32C != sum(s.content) || done.ResumedBytes != had && done.ResumedBytes != 0 {
			t.Errorf("after operation %d with %d bytes done: %+v", failAt, had, done)
		}
		if done.ResumedBytes > 0 {
			resumed++
		}
	}
	if resumed < 5 {
		t.Errorf("%d copies were resumed", resumed)
	}
}

// What is read again after losses is what lay between two states.
func TestReadAgain(t *testing.T) {
	s := newSite(t, chain.VHDX)
	a := s.approval(t)
	var once, all int64
	var mu sync.Mutex
	if _, err := copyAt(t.Context(), eager(), &counting{Store: s.store, read: &once, mu: &mu}, s.task, a, newDisk(a.SizeBytes), nil, quiet, forget); err != nil {
		t.Fatal(err)
	}
	d := newDisk(a.SizeBytes)
	var last *copier.State
	kills := 0
	for rng := rand.New(rand.NewPCG(3, 4)); ; kills++ {
		ctx, kill := context.WithCancel(t.Context())
		store := &counting{Store: s.store, read: &all, mu: &mu, after: all + 12*mib, then: kill}
		_, err := copyAt(ctx, eager(), store, s.task, a, d, throughJSON(t, last), quiet, func(c copier.State) { last = &c })
		kill()
		if err == nil {
			break
		}
		if ctx.Err() == nil || kills > 20 {
			t.Fatal(err)
		}
		d.crash(rng)
	}
	s.is(t, d)
	again := all - once
	t.Logf("%d kills: %.1f MiB read again of %.1f MiB, %.1f MiB each", kills, float64(again)/mib, float64(once)/mib, float64(again)/mib/float64(kills))
	// A state is taken every 4 MiB, with as much under way as there are workers;
	// headers, tables and samples come with each opening.
	if limit := int64(kills) * (stateStep + copier.DefaultParallel*mib + 2*mib); kills < 2 || again > limit {
		t.Errorf("%d kills: %d bytes were read again, more than %d", kills, again, limit)
	}
}

// The state is of no use on another disk, which the platform may have made under
// the same name: an empty one, or one that is not.
func TestAnotherDisk(t *testing.T) {
	s := newSite(t, chain.VHDX)
	a := s.approval(t)
	var states []copier.State
	if _, err := copyAt(t.Context(), eager(), s.store, s.task, a, newDisk(a.SizeBytes), nil, quiet, func(c copier.State) { states = append(states, c) }); err != nil {
		t.Fatal(err)
	}
	if len(states) < 3 {
		t.Fatalf("%d states", len(states))
	}
	for _, state := range states {
		empty := newDisk(a.SizeBytes)
		done, err := Copy(t.Context(), s.store, s.task, a, empty, &state, quiet, forget)
		if err != nil || done.ResumedBytes != 0 || empty.zeroed > 0 {
			t.Errorf("empty disk: %+v, %d bytes zeroed, %v", done, empty.zeroed, err)
		}
		s.is(t, empty)
		used := newDisk(a.SizeBytes)
		used.fill(virtual)
		done, err = Copy(t.Context(), s.store, s.task, a, used, &state, quiet, forget)
		if err != nil || done.ResumedBytes != 0 {
			t.Errorf("used disk: %+v, %v", done, err)
		}
		s.is(t, used)
	}
}

// A copy to a disk that has to be zeroed goes on zeroing.
func TestResumeZeroing(t *testing.T) {
	s := newSite(t, chain.VHD)
	a := s.approval(t)
	rng := rand.New(rand.NewPCG(5, 6))
	for failAt := 4; failAt < 30; failAt += 5 {
		d := newDisk(a.SizeBytes)
		d.fill(virtual)
		d.failAt = failAt
		var last *copier.State
		_, _ = copyAt(t.Context(), eager(), s.store, s.task, a, d, nil, quiet, func(c copier.State) { last = &c })
		d.crash(rng)
		if _, err := copyAt(t.Context(), eager(), s.store, s.task, a, d, throughJSON(t, last), quiet, forget); err != nil {
			t.Fatal(err)
		}
		s.is(t, d)
	}
}

// What was changed on a disk behind samples is found, and copied again.
func TestResumedWrongly(t *testing.T) {
	s := newSite(t, chain.VHDX)
	a := s.approval(t)
	var last copier.State
	d := newDisk(a.SizeBytes)
	if _, err := Copy(t.Context(), s.store, s.task, a, d, nil, quiet, func(c copier.State) { last = c }); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{mib + 77, 25*mib + 5} {
		d.put(int64(at), []byte{s.content[at] ^ 4})
	}
	if _, err := Copy(t.Context(), s.store, s.task, a, d, &last, quiet, forget); err != nil {
		t.Fatal(err)
	}
	s.is(t, d)
	// The state of another release, without checksums.
	var foreign copier.State
	text := []byte(`{"version":1,"source":"` + last.Source + `","sizeBytes":` + fmt.Sprint(last.SizeBytes) + `,"unitBytes":65536,"done":"0-3"}`)
	if err := json.Unmarshal(text, &foreign); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), s.store, s.task, a, d, &foreign, quiet, forget); err != nil {
		t.Error(err)
	}
	s.is(t, d)
}

func TestVerifyFails(t *testing.T) {
	s := newSite(t, chain.VHDX)
	const bad = 25*mib + 1234
	for _, verify := range []string{"", job.VerifyFull} {
		s.task.Verify = verify
		a := s.approval(t)
		d := newDisk(a.SizeBytes)
		d.spoil = func(off int64, p []byte) {
			if at := bad - off; at >= 0 && at < int64(len(p)) {
				p[at] ^= 1
			}
		}
		_, err := Copy(t.Context(), s.store, s.task, a, d, nil, quiet, forget)
		if job.CodeOf(err) != job.VerifyFailed || !strings.Contains(err.Error(), "in 1 bytes, from offset 26215634 on") {
			t.Errorf("verify %q: %v", verify, err)
		}
	}
	// Only all of it shows what is wrong where the image has nothing.
	a := s.approval(t)
	for _, at := range []int64{17*mib + mib/2, a.SizeBytes - 5} {
		d := newDisk(a.SizeBytes)
		d.spoil = func(int64, []byte) { d.put(at, []byte{1}) }
		if _, err := Copy(t.Context(), s.store, s.task, a, d, nil, quiet, forget); job.CodeOf(err) != job.VerifyFailed {
			t.Errorf("offset %d: %v", at, err)
		}
	}
}

func TestSourceChanged(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, s *site){
		"time": func(t *testing.T, s *site) {
			if err := os.Chtimes(filepath.Join(s.dir, s.task.Input), time.Time{}, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		},
		"size": func(t *testing.T, s *site) {
			f, err := os.OpenFile(filepath.Join(s.dir, "base.1.avhdx"), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Write(make([]byte, mib)); err != nil {
				t.Fatal(err)
			}
		},
		"parent replaced": func(t *testing.T, s *site) {
			path := filepath.Join(s.dir, "base.vhdx")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, chain.VHDX)
			a := s.approval(t)
			var last copier.State
			var once sync.Once
			// First while it is copied, then before it goes on.
			_, err := copyAt(t.Context(), eager(), s.store, s.task, a, newDisk(a.SizeBytes), nil, quiet, func(c copier.State) {
				last = c
				once.Do(func() { change(t, s) })
			})
			if job.CodeOf(err) != job.SourceChanged {
				t.Errorf("meanwhile: %v", err)
			}
			if _, err = Copy(t.Context(), s.store, s.task, a, newDisk(a.SizeBytes), &last, quiet, forget); job.CodeOf(err) != job.SourceChanged || !strings.Contains(err.Error(), "preflight saw base.") {
				t.Errorf("before: %v", err)
			}
		})
	}
}

func TestDiskTooSmall(t *testing.T) {
	s := newSite(t, chain.VHD)
	a := s.approval(t)
	d := newDisk(a.SizeBytes - 512)
	if _, err := Copy(t.Context(), s.store, s.task, a, d, nil, quiet, forget); job.CodeOf(err) != job.PlatformRefused || d.ops != 0 {
		t.Errorf("%v after %d operations", err, d.ops)
	}
}

func TestCancel(t *testing.T) {
	s := newSite(t, chain.VHDX)
	a := s.approval(t)
	for _, step := range []string{"copy", "verify"} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Copy(ctx, s.store, s.task, a, newDisk(a.SizeBytes), nil, func(p job.Progress) {
			if p.Step == step {
				cancel()
			}
		}, forget)
		if ctx.Err() == nil || err == nil || job.CodeOf(err) != "" {
			t.Errorf("%s: %v", step, err)
		}
	}
}
