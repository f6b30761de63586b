package peers

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Report prints a table: for every way the median time with the shortest and
// the longest, MB/s and CPU time per GB of its data, and its comparisons.
func (r Results) Report(w io.Writer) {
	best := make(map[string]time.Duration) // median, by group
	for i, way := range r.ways {
		if m := median(r.samples[i]); way.Peer != "" && (best[way.Peer] == 0 || m < best[way.Peer]) {
			best[way.Peer] = m
		}
	}
	width := 0
	for _, way := range r.ways {
		width = max(width, len(way.Name))
	}
	fmt.Fprintf(w, "%-*s %8s %19s %6s %9s\n", width, "", "median", "(min - max)", "MB/s", "CPU s/GB")
	for i, way := range r.ways {
		m, gb := median(r.samples[i]), float64(way.Bytes)/1e9
		low := slices.MinFunc(r.samples[i], byWall).wall
		high := slices.MaxFunc(r.samples[i], byWall).wall
		cpu := "-"
		if !way.NoCPU {
			var sum time.Duration
			for _, s := range r.samples[i] {
				sum += s.cpu
			}
			cpu = fmt.Sprintf("%.2f", sum.Seconds()/float64(len(r.samples[i]))/gb)
		}
		fmt.Fprintf(w, "%-*s %7.2fs (%6.2fs - %6.2fs) %6.0f %9s", width, way.Name,
			m.Seconds(), low.Seconds(), high.Seconds(), 1e3*gb/m.Seconds(), cpu)
		for _, g := range way.Goals {
			fmt.Fprintf(w, "  %.2fx %s", best[g.Peer].Seconds()/m.Seconds(), g.Peer)
			if g.AtLeast > 0 {
				fmt.Fprintf(w, " (goal %.1f)", g.AtLeast)
			}
		}
		fmt.Fprintln(w)
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		fmt.Fprintf(w, "load average at the end: %s\n", strings.Join(strings.Fields(string(load))[:3], " "))
	}
}

func byWall(a, b sample) int { return cmp.Compare(a.wall, b.wall) }

func median(samples []sample) time.Duration {
	sorted := slices.SortedFunc(slices.Values(samples), byWall)
	return sorted[len(sorted)/2].wall
}
