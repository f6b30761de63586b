package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"
)

func report(alone []sample, all crowd, m usage) {
	const mib = 1 << 20
	jobs := len(all.samples)
	for _, failed := range all.failed {
		jobs += len(failed)
	}
	fmt.Printf("convertToUefi of small disks on platform local, %d jobs at once; Compositing Engines are processes\n\n", jobs)
	fmt.Printf("%-46s %24s %30s\n", "of a job, s", "alone: median (max)", "at once: median, 95 %, max")
	row := func(what string, of func(sample) time.Duration, goal string) {
		a, c := sorted(alone, of), sorted(all.samples, of)
		fmt.Printf("%-46s %15.2f (%6.2f) %14.2f %7.2f %7.2f   %s\n", what, at(a, 0.5), at(a, 1), at(c, 0.5), at(c, 0.95), at(c, 1), goal)
	}
	row("history, first to last event", func(s sample) time.Duration { return s.total }, "")
	row("activities", func(s sample) time.Duration { return s.work }, "")
	row("start of the Compositing Engine", func(s sample) time.Duration { return s.boot }, "")
	row("everything else: the orchestration", func(s sample) time.Duration { return s.rest }, "goal: under 1 alone")
	row("  of that, in line, until its first task", func(s sample) time.Duration { return s.line }, "")
	retries, events := 0, 0
	for _, s := range all.samples {
		retries, events = retries+s.retries, max(events, s.events)
	}
	fmt.Println()
	fmt.Printf("%-46s %d of %d   goal: all\n", "completed", len(all.samples), jobs)
	fmt.Printf("%-46s %.1f s, %.0f jobs a minute\n", "together", all.wall.Seconds(), float64(len(all.samples))/all.wall.Minutes())
	fmt.Printf("%-46s %d in all jobs; at most %d events in a history\n", "attempts of activities that were repeated", retries, events)
	fmt.Printf("%-46s %.2f s worker, %.2f s Compositing Engine, on %d processors\n", "processor time of a job", m.workerCPU.Seconds()/float64(jobs), m.enginesCPU.Seconds()/float64(jobs), runtime.NumCPU())
	fmt.Printf("%-46s %.0f MiB resident\n", "worker, at its peak", float64(m.worker)/mib)
	fmt.Printf("%-46s %d, with %.0f MiB of their own together\n", "Compositing Engines at once, at most", m.number, float64(m.engines)/mib)
}

// sorted are the values in seconds, ascending.
func sorted(samples []sample, of func(sample) time.Duration) []float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s).Seconds()
	}
	slices.Sort(values)
	return values
}

// at is the value below which that part of them lies.
func at(sorted []float64, part float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(part*float64(len(sorted)-1))]
}
