package main

import (
	"strings"
	"testing"
	"time"

	"imageport/job"
)

func TestSizeText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 7 << 20: "7.0 MiB", 40 << 30: "40.0 GiB", 1<<63 - 1: "8.0 EiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %s; want %s", n, got, want)
		}
	}
}

func TestProgressText(t *testing.T) {
	for _, tc := range []struct {
		p    job.Progress
		want string
	}{
		{job.Progress{Step: "Hello"}, "Hello"},
		{job.Progress{Step: "read", DoneBytes: 2048}, "read 2.0 KiB"},
		{job.Progress{Step: "write", DoneBytes: 1 << 62, TotalBytes: 1<<63 - 1}, "write 4.0 EiB of 8.0 EiB (50 %)"},
	} {
		if got := progressText(tc.p); got != tc.want {
			t.Errorf("got %q; want %q", got, tc.want)
		}
	}
}

// Without a terminal there is a line for each step, and one every ten seconds.
func TestPlainProgress(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now := start
	var out strings.Builder
	p := newProgress(&out, func() time.Time { return now })
	show := func(after time.Duration, phase job.Phase, done int64, warnings ...string) {
		now = start.Add(after)
		s := job.Status{State: job.StateRunning, Phase: phase, Started: start, Warnings: warnings}
		if done > 0 {
			s.Progress = &job.Progress{Step: "write", DoneBytes: done << 20, TotalBytes: 100 << 20}
		}
		p.show(s)
	}
	show(0, job.PhasePreflight, 0)
	show(1*time.Second, job.PhaseCompose, 1)
	show(2*time.Second, job.PhaseCompose, 2, "slow")
	show(9*time.Second, job.PhaseCompose, 3, "slow")
	show(12*time.Second, job.PhaseCompose, 4, "slow")
	show(13*time.Second, job.PhaseTearDown, 0, "slow", "still slow")
	p.show(job.Status{State: job.StateCompleted})
	p.end()
	want := `    0s  preflight
    1s  compose: write 1.0 MiB of 100.0 MiB (1 %)
warning: slow
   12s  compose: write 4.0 MiB of 100.0 MiB (4 %)
warning: still slow
   13s  tearDown
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestCut(t *testing.T) {
	for _, tc := range []struct {
		text string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöüß", 3, "äö…"}, {"abc", 0, "abc"}} {
		if got := cut(tc.text, tc.n); got != tc.want {
			t.Errorf("%q to %d: %q", tc.text, tc.n, got)
		}
	}
}
