// Command copy measures the copier on local files: a dynamic VHDX of mixed
// data to a sparse raw file, side by side with qemu-img convert, one after the
// other in every round. It prints medians, best times, CPU and ratios;
// none is asserted, because machines differ.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"imageport/engine/copyfile"
	"imageport/engine/disk/copier"
	"imageport/engine/disk/vhdx"
)

func main() {
	rounds := flag.Int("n", 7, "rounds to measure, after one to warm up")
	data := flag.Int("data", 1024, "MiB of data on the disk, which is three times as big")
	dir := flag.String("dir", "", "where the images go (default: a temporary directory)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, *dir, *rounds, int64(*data)<<20)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "copy:", err)
		os.Exit(1)
	}
}

// way is one way to get from the VHDX to the raw file.
type way struct {
	name string
	peer bool
	copy func(ctx context.Context, image, raw string) error
}

// sample is one measured copy.
type sample struct{ wall, cpu time.Duration }

func ways() []way {
	ours := func(opt copier.Options) func(context.Context, string, string) error {
		opt.TargetIsZero = true
		return func(ctx context.Context, image, raw string) error { return convert(ctx, image, raw, opt) }
	}
	qemu := func(options ...string) func(context.Context, string, string) error {
		return func(ctx context.Context, image, raw string) error {
			args := append(append([]string{"convert"}, options...), "-f", "vhdx", "-O", "raw", image, raw)
			return tool(ctx, "qemu-img", args...)
		}
	}
	return []way{
		{"copier", false, ours(copier.Options{})},
		{"copier, CRC-32C", false, ours(copier.Options{CRC: true})},
		{"copier, SHA-256", false, ours(copier.Options{SHA256: true})},
		{"qemu-img convert", true, qemu()},
		{"qemu-img convert -W -m 16", true, qemu("-W", "-m", "16")},
	}
}

func run(ctx context.Context, dir string, rounds int, data int64) error {
	if dir == "" {
		temporary, err := os.MkdirTemp("", "imageport-bench-copy-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		dir = temporary
	}
	image, want, err := makeImage(ctx, dir, data)
	if err != nil {
		return err
	}
	raw := filepath.Join(dir, "out.raw")
	all := ways()
	samples := make([][]sample, len(all))
	for round := range rounds + 1 {
		for i, w := range all {
			s, err := measure(func() error { return w.copy(ctx, image, raw) })
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if round > 0 {
				samples[i] = append(samples[i], s)
			} else if err := verify(raw, want); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if err := os.Remove(raw); err != nil {
				return err
			}
		}
	}
	report(all, samples, data)
	return nil
}

// report prints a table. The peer to beat is the one with the best median.
func report(all []way, samples [][]sample, data int64) {
	median := func(s []sample) time.Duration {
		slices.SortFunc(s, func(a, b sample) int { return int(a.wall - b.wall) })
		return s[len(s)/2].wall
	}
	var peer time.Duration
	for i, w := range all {
		if m := median(samples[i]); w.peer && (peer == 0 || m < peer) {
			peer = m
		}
	}
	fmt.Printf("%-28s %8s %8s %10s %16s %s\n", "", "median", "best", "MB/s", "CPU s per GB", "x best qemu-img")
	for i, w := range all {
		m := median(samples[i])
		var cpu time.Duration
		for _, s := range samples[i] {
			cpu += s.cpu / time.Duration(len(samples[i]))
		}
		gb := float64(data) / 1e9
		fmt.Printf("%-28s %7.2fs %7.2fs %10.0f %16.2f %.2f\n", w.name, m.Seconds(), samples[i][0].wall.Seconds(),
			gb*1e3/m.Seconds(), cpu.Seconds()/gb, peer.Seconds()/m.Seconds())
	}
	fmt.Println("goals: 1.5x the best qemu-img, 0.5 core-seconds per GB")
}

// convert copies a VHDX to a new raw file, as the product does. qemu-img does
// not sync its output, so neither is it here.
func convert(ctx context.Context, image, raw string, opt copier.Options) (err error) {
	file, err := os.Open(image)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	im, err := vhdx.Open(file, info.Size())
	if err != nil {
		return err
	}
	src, err := im.Disk(nil)
	if err != nil {
		return err
	}
	dst, err := copyfile.Create(raw, src.Size())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	_, err = copier.Copy(ctx, unsynced{dst}, src, opt)
	return err
}

// unsynced leaves the data in the page cache.
type unsynced struct{ *copyfile.File }

func (unsynced) Sync() error { return nil }

// makeImage makes a dynamic VHDX with so many bytes of data and gives its path
// and the SHA-256 of the disk: random bytes, text, and allocated zeros, in
// stretches of 1 to 32 MiB, spread over a disk three times as big.
func makeImage(ctx context.Context, dir string, data int64) (image string, sum [sha256.Size]byte, err error) {
	plain := filepath.Join(dir, "plain.raw")
	defer os.Remove(plain)
	f, err := copyfile.Create(plain, 3*data)
	if err != nil {
		return "", sum, err
	}
	rng := rand.New(rand.NewPCG(1, 1))
	if err := errors.Join(fill(f, rng, data), f.Close()); err != nil {
		return "", sum, err
	}
	if sum, err = digest(plain); err != nil {
		return "", sum, err
	}
	image = filepath.Join(dir, "disk.vhdx")
	return image, sum, tool(ctx, "qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", "subformat=dynamic,block_size=2M", plain, image)
}

func fill(f io.WriterAt, rng *rand.Rand, data int64) error {
	const mib = 1 << 20
	random := rand.NewChaCha8([32]byte{1})
	text := []byte(strings.Repeat("The quick brown fox jumps over the lazy dog. ", mib/45+1))[:mib]
	block := make([]byte, mib)
	for at := int64(0); data > 0; {
		kind := rng.IntN(5)
		n := min(int64(1+rng.IntN(32))*mib, data)
		for end := at + n; at < end; at += mib {
			switch {
			case kind < 2:
				random.Read(block)
			case kind < 4:
				copy(block, text)
			default: // mostly zeros inside an allocated block
				clear(block)
				block[0] = 1
			}
			if _, err := f.WriteAt(block, at); err != nil {
				return err
			}
		}
		data -= n
		at += n + int64(rng.IntN(16))*mib
	}
	return nil
}

func verify(raw string, want [sha256.Size]byte) error {
	got, err := digest(raw)
	if err == nil && got != want {
		err = fmt.Errorf("%s has SHA-256 %x, expected %x", raw, got, want)
	}
	return err
}

func digest(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, f, make([]byte, 1<<20)); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// measure gives the time of f, and the CPU time of it and its children.
func measure(f func() error) (sample, error) {
	before, start := cpuTime(), time.Now()
	err := f()
	return sample{time.Since(start), cpuTime() - before}, err
}

func cpuTime() time.Duration {
	var total time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return total
}

// tool runs a program, whose words are the error if it fails.
func tool(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
