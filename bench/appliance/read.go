package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"imageport/bench/appliance/reading"
	"imageport/bench/internal/peers"
	"imageport/job/seed"
	"imageport/testkit/cevm"
	"imageport/testkit/samba"
)

const readData = 64 << 20 // bytes of data on the disk

// read measures the engine's reading of a disk on a share in a machine, and on
// the host.
func read(t *bench, image cevm.Image) error {
	dir := t.TempDir()
	disk, err := peers.MakeImage(t.ctx, dir, readData)
	if err != nil {
		return err
	}
	if filepath.Base(disk.Path) != reading.Image {
		return fmt.Errorf("the disk is called %s, want %s", disk.Path, reading.Image)
	}
	server, err := samba.Start(t.ctx, samba.Options{Shares: map[string]string{samba.DefaultShare: dir}})
	if err != nil {
		return err
	}
	defer server.Stop()
	program := filepath.Join(dir, "agent")
	cmd := exec.CommandContext(t.ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "imageport/bench/appliance/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, bytes.TrimSpace(said))
	}

	host, err := reading.Share{Address: server.Addr(), Password: server.Password}.Time(t.ctx)
	if err != nil {
		return err
	}
	told, err := seed.Seed{
		Name: "ce-0123456789ab", Deadline: time.Now().Add(time.Hour),
		Gateway: seed.Gateway{Address: fmt.Sprintf("10.0.2.2:%d", server.Port), CA: strings.Repeat("00", 32), Patience: 1, Token: server.Password},
	}.Encode()
	if err != nil {
		return err
	}
	inside, err := readInside(t, cevm.Options{Image: image.WithAgent(t, program), Network: cevm.User, MemoryMiB: 1024, Seed: told})
	if err != nil {
		return err
	}
	fmt.Printf("%d MiB of a disk on a share, read %d times\n", readData>>20, reading.Rounds)
	for _, k := range []struct {
		name  string
		times []time.Duration
	}{{"on the host", host}, {"in the machine", inside}} {
		fmt.Printf("  %-32s %s %7.1f MB/s\n", k.name, spread(k.times), readData/1e6/median(k.times))
	}
	fmt.Printf("  %-32s %6.2fx\n\n", "machine / host", median(inside)/median(host))
	return nil
}

// readLine is what the program in the machine says of each round.
var readLine = regexp.MustCompile(`imageport-ce: read took=(\S+)`)

func readInside(t *bench, o cevm.Options) (times []time.Duration, err error) {
	err = t.alone(func(t *bench) error {
		v := cevm.Boot(t, o)
		if end := v.End(); end.Cause != "" {
			return fmt.Errorf("the machine: %s", end.Cause)
		}
		for _, l := range v.Console() {
			if found := readLine.FindStringSubmatch(l); found != nil {
				took, err := time.ParseDuration(found[1])
				if err != nil {
					return err
				}
				times = append(times, took)
			}
		}
		if len(times) != reading.Rounds {
			return fmt.Errorf("the machine has read %d times, want %d", len(times), reading.Rounds)
		}
		return nil
	})
	return times, err
}
