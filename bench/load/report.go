package main

import (
	"fmt"
	"runtime"
	"time"

	"imageport/bench/internal/peers"
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
		seconds := func(s sample) float64 { return of(s).Seconds() }
		fmt.Printf("%-46s %15.2f (%6.2f) %14.2f %7.2f %7.2f   %s\n", what, peers.At(alone, 0.5, seconds), peers.At(alone, 1, seconds),
			peers.At(all.samples, 0.5, seconds), peers.At(all.samples, 0.95, seconds), peers.At(all.samples, 1, seconds), goal)
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
