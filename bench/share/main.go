// Command share measures raw reading of a share: this module against smbclient
// on a plain, a signed and an encrypted connection to Samba on loopback, and
// large reads against sequential ones over a network with a round trip of 10 ms.
//
// The candidates take turns, so that what else the machine does meets all of
// them. It prints medians, ratios and the goals; none is asserted, because
// machines differ.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"imageport/engine/share"
	"imageport/testkit/proxy"
	"imageport/testkit/samba"
)

const file = "disk"

func main() {
	runs := flag.Int("n", 5, "runs of every candidate, after one to warm up")
	size := flag.Int64("mib", 1024, "size of the file in MiB")
	rtt := flag.Duration("rtt", 10*time.Millisecond, "round trip of the slow network")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, *runs, *size<<20, *rtt)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// candidate is one way to read the file.
type candidate struct {
	name  string
	peer  string // what it is compared with; "" for a peer
	goal  string
	bytes int64
	slow  bool // through our own proxy, whose CPU time would count as the candidate's
	read  func(context.Context) (cpu time.Duration, err error)

	walls, cpus []float64 // seconds
}

func run(ctx context.Context, runs int, size int64, rtt time.Duration) error {
	dir, err := os.MkdirTemp("", "imageport-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeNoise(filepath.Join(dir, file), size); err != nil {
		return err
	}
	var candidates []*candidate
	for _, kind := range []struct {
		name string
		opt  samba.Options
		goal string
	}{
		{"plain", samba.Options{}, "goal: at least 1.5"},
		{"encrypted", samba.Options{Encrypt: true}, "goal: at least 1.5"},
		{"signed", samba.Options{Signing: "mandatory"}, ""},
	} {
		kind.opt.Shares = map[string]string{samba.DefaultShare: dir}
		server, err := samba.Start(ctx, kind.opt)
		if err != nil {
			return err
		}
		defer server.Stop()
		auth := filepath.Join(dir, kind.name+".auth")
		if err := os.WriteFile(auth, []byte("username = "+server.Username+"\npassword = "+server.Password+"\n"), 0o600); err != nil {
			return err
		}
		peer := kind.name + ", smbclient get"
		candidates = append(candidates, &candidate{name: peer, bytes: size, read: smbclient(server, auth)})
		for _, driver := range []string{share.DriverCloudSoda, share.DriverHirochachacha} {
			if kind.opt.Signing != "" && driver == share.DriverHirochachacha {
				continue // it cannot
			}
			c := &candidate{name: kind.name + ", " + driver, peer: peer, bytes: size, read: ours(server, server.Port, driver, size, 4<<20, 4)}
			if driver == share.DriverCloudSoda {
				c.goal = kind.goal
			}
			candidates = append(candidates, c)
		}
		if kind.name != "plain" {
			continue
		}
		slow, err := proxy.Start(server.Addr())
		if err != nil {
			return err
		}
		defer slow.Stop()
		slow.Delay(rtt / 2)
		some := min(size, 512<<20)
		peer = fmt.Sprintf("%v, 1 MiB after 1 MiB", rtt)
		candidates = append(candidates,
			&candidate{name: peer, bytes: some, slow: true, read: ours(server, slow.Port(), "", some, 1<<20, 1)},
			&candidate{name: fmt.Sprintf("%v, one reader of 32 MiB", rtt), peer: peer, bytes: some, slow: true, read: ours(server, slow.Port(), "", some, 32<<20, 1)},
			&candidate{name: fmt.Sprintf("%v, 8 readers of 4 MiB", rtt), peer: peer, goal: "goal: at least 7", bytes: some, slow: true, read: ours(server, slow.Port(), "", some, 4<<20, 8)})
	}
	for i := range runs + 1 {
		for _, c := range candidates {
			start := time.Now()
			cpu, err := c.read(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if i > 0 {
				c.walls, c.cpus = append(c.walls, time.Since(start).Seconds()), append(c.cpus, cpu.Seconds())
			}
		}
	}
	report(candidates, runs)
	return nil
}

// writeNoise makes a file that nothing can compress.
func writeNoise(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	noise := rand.NewChaCha8([32]byte{})
	buf := make([]byte, 1<<20)
	for range size / int64(len(buf)) {
		_, _ = noise.Read(buf)
		if _, err := f.Write(buf); err != nil {
			return err
		}
	}
	return f.Close()
}

// smbclient reads the file as its "get" does.
func smbclient(s *samba.Server, auth string) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		cmd := exec.CommandContext(ctx, "smbclient", "--configfile=/dev/null", "-A", auth, "-p", strconv.Itoa(s.Port),
			"//"+s.Host+"/"+samba.DefaultShare, "-c", "get "+file+" /dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%w: %s", err, out)
		}
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
	}
}

// ours reads the file with so many readers, which ask for pieces of one size.
func ours(s *samba.Server, port int, driver string, size, piece int64, readers int) func(context.Context) (time.Duration, error) {
	loc := share.Location{Host: s.Host, Port: port, Share: samba.DefaultShare}
	cred := share.Credential{Username: s.Username, Password: s.Password}
	return func(ctx context.Context) (time.Duration, error) {
		before := cpuTime()
		store, err := share.Dial(ctx, loc, cred, share.Options{Driver: driver})
		if err != nil {
			return 0, err
		}
		defer store.Close()
		f, err := store.Open(ctx, file)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		if err := readAll(f, size, piece, readers); err != nil {
			return 0, err
		}
		return cpuTime() - before, nil
	}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no reason to fail
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func report(candidates []*candidate, runs int) {
	medians := make(map[string]float64)
	fmt.Printf("reading a file from Samba on loopback; %d runs in turn, median (min - max)\n\n", runs)
	for _, c := range candidates {
		rates := make([]float64, len(c.walls))
		for i, wall := range c.walls {
			rates[i] = float64(c.bytes) / 1e6 / wall
		}
		slices.Sort(rates)
		slices.Sort(c.cpus)
		medians[c.name] = rates[len(rates)/2]
		fmt.Printf("%-28s %5.0f MB/s  (%.0f - %.0f)", c.name, medians[c.name], rates[0], rates[len(rates)-1])
		if !c.slow {
			fmt.Printf("  CPU %.2f s/GB", c.cpus[len(c.cpus)/2]/(float64(c.bytes)/1e9))
		}
		if c.peer != "" {
			fmt.Printf("  %.2f of %s  %s", medians[c.name]/medians[c.peer], c.peer, c.goal)
		}
		fmt.Println()
	}
}
