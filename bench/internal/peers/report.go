package peers

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Report prints a table: for every way the median time with the shortest and
// the longest, MB/s and CPU time per GB of its data, and its comparisons.
func (r Results) Report(w io.Writer) {
	best := make(map[string]float64) // median in seconds, by group
	for i, way := range r.ways {
		if m := Median(r.samples[i], wall); way.Peer != "" && (best[way.Peer] == 0 || m < best[way.Peer]) {
			best[way.Peer] = m
		}
	}
	width := 0
	for _, way := range r.ways {
		width = max(width, len(way.Name))
	}
	fmt.Fprintf(w, "%-*s %8s %19s %6s %9s\n", width, "", "median", "(min - max)", "MB/s", "CPU s/GB")
	for i, way := range r.ways {
		m, gb := Median(r.samples[i], wall), float64(way.Bytes)/1e9
		low, high := bounds(r.samples[i], wall)
		cpu := "-"
		if !way.NoCPU {
			sum := 0.0
			for _, s := range r.samples[i] {
				sum += s.cpu.Seconds()
			}
			cpu = fmt.Sprintf("%.2f", sum/float64(len(r.samples[i]))/gb)
		}
		fmt.Fprintf(w, "%-*s %7.2fs (%6.2fs - %6.2fs) %6.0f %9s", width, way.Name, m, low, high, 1e3*gb/m, cpu)
		for _, g := range way.Goals {
			fmt.Fprintf(w, "  %.2fx %s", best[g.Peer]/m, g.Peer)
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

func wall(s sample) float64 { return s.wall.Seconds() }

// Spread is the median of the values of all samples, and the least and the greatest
// if they are others.
func Spread[T any](all []T, format string, of func(T) float64) string {
	low, high := bounds(all, of)
	text := fmt.Sprintf(format, Median(all, of))
	if low == high {
		return text
	}
	return text + fmt.Sprintf(" ("+format+" - "+format+")", low, high)
}

// Median is the median of the values of all samples, of which there is one at least.
func Median[T any](all []T, of func(T) float64) float64 { return At(all, 0.5, of) }

// At is the value below which that part of the samples lies; 0 if there is none.
func At[T any](all []T, part float64, of func(T) float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(all), by(of))
	return of(sorted[min(int(part*float64(len(sorted))), len(sorted)-1)])
}

func bounds[T any](all []T, of func(T) float64) (low, high float64) {
	return of(slices.MinFunc(all, by(of))), of(slices.MaxFunc(all, by(of)))
}

func by[T any](of func(T) float64) func(a, b T) int {
	return func(a, b T) int { return cmp.Compare(of(a), of(b)) }
}
