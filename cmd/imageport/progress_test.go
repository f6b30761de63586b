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
	show(0, "", 0)
	show(0, job.PhasePreflight, 0)
	show(1*time.Second, job.PhaseCompose, 1)
	show(2*time.Second, job.PhaseCompose, 2, "slow")
	show(9*time.Second, job.PhaseCompose, 3, "slow")
	show(12*time.Second, job.PhaseCompose, 4, "slow")
	show(13*time.Second, job.PhaseTearDown, 0, "slow", "still slow")
	p.show(job.Status{State: job.StateCompleted})
	p.end()
	want := `    0s  waiting for a worker
    0s  preflight
    1s  compose: write 1.0 MiB of 100.0 MiB (1 %)
warning: slow
   12s  compose: write 4.0 MiB of 100.0 MiB (4 %), 279.3 KiB/s, 5m52s left
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

// On a terminal there is a bar, with rate and remaining time, and a line for each
// phase that is over. It fits, however narrow the terminal is.
func TestTerminalProgress(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now, columns := start, 120
	var out strings.Builder
	p := newProgress(&out, func() time.Time { return now })
	p.width = func() int { return columns }
	show := func(after time.Duration, phase job.Phase, done int64, warnings ...string) string {
		out.Reset()
		now = start.Add(after)
		s := job.Status{State: job.StateRunning, Phase: phase, Started: start, Warnings: warnings}
		if done >= 0 {
			s.Progress = &job.Progress{Step: "write", DoneBytes: done << 20, TotalBytes: 100 << 20}
		}
		p.show(s)
		return out.String()
	}
	for _, step := range []struct {
		got, want string
	}{
		{show(0, job.PhasePreflight, -1), "\r    0s  preflight\x1b[K"},
		{show(2*time.Second, job.PhaseCompose, 0), "\r\x1b[K    2s  preflight done\n\r    2s  compose   write  [>                             ]   0 % of 100.0 MiB\x1b[K"},
		{show(12*time.Second, job.PhaseCompose, 50), "\r   12s  compose   write  [===============>              ]  50 %  50.0 MiB of 100.0 MiB  5.0 MiB/s  10s left\x1b[K"},
		{show(13*time.Second, job.PhaseCompose, 50, "slow\x1b"), "\r\x1b[Kwarning: slow\uFFFD\n\r   13s  compose   write  [===============>              ]  50 %  50.0 MiB of 100.0 MiB  4.5 MiB/s  11s left\x1b[K"},
		{show(14*time.Second, job.PhasePublish, -1, "slow\x1b"), "\r\x1b[K   14s  compose   done\n\r   14s  publish\x1b[K"},
	} {
		for line := range strings.SplitSeq(step.got, "\n") {
			if n := len([]rune(strings.TrimSuffix(strings.TrimPrefix(line, "\r"), "\x1b[K"))); n >= columns {
				t.Errorf("%d columns: %q", n, line)
			}
		}
		if step.got != step.want {
			t.Errorf("got  %q\nwant %q", step.got, step.want)
		}
	}
	columns = 40
	_ = show(20*time.Second, job.PhaseVerify, 1)
	if got := show(24*time.Second, job.PhaseVerify, 100); got != "\r   24s  verify    write 100 %  100.0 M…\x1b[K" {
		t.Errorf("narrow: %q", got)
	}
	out.Reset()
	p.end()
	if out.String() != "\r\x1b[K" {
		t.Errorf("end: %q", out.String())
	}
}

// A rate is that of late, falls when nothing comes, and begins anew with a step.
func TestPace(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var p pace
	at := func(seconds int, step string, done int64) (int64, time.Duration, bool) {
		now := start.Add(time.Duration(seconds) * time.Second)
		if step != "" {
			p.note(now, job.Status{State: job.StateRunning, Phase: job.PhaseCompose, Progress: &job.Progress{Step: step, DoneBytes: done, TotalBytes: 1000}})
		}
		return p.of(now)
	}
	for _, step := range []struct {
		seconds int
		step    string
		done    int64
		rate    int64
		left    time.Duration
		ok      bool
	}{
		{0, "write", 0, 0, 0, false},
		{1, "write", 10, 0, 0, false}, // too early
		{2, "write", 20, 10, 98 * time.Second, true},
		{10, "write", 100, 10, 90 * time.Second, true},
		{20, "write", 500, 25, 20 * time.Second, true},
		{40, "write", 900, 20, 5 * time.Second, true}, // the last 20 s
		{60, "", 0, 10, 10 * time.Second, true},       // nothing came
		{61, "write", 100, 0, 0, false},               // another attempt
		{70, "write", 1000, 100, 0, true},
		{71, "read", 1000, 0, 0, false},
	} {
		if rate, left, ok := at(step.seconds, step.step, step.done); rate != step.rate || left != step.left || ok != step.ok {
			t.Errorf("after %d s: %d, %v, %v; want %+v", step.seconds, rate, left, ok, step)
		}
	}
	if p.note(start, job.Status{State: job.StateCompleted}); len(p.samples) != 0 {
		t.Error("an ended job has a pace")
	}
}
