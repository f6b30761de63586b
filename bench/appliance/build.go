package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"imageport/appliance"
)

// build measures the command, with the packages in its cache, as `make
// appliance` calls it.
func build(ctx context.Context, dir string, rounds int) error {
	out := filepath.Join(dir, "built")
	kinds := []struct {
		name  string
		flags []string
		times []time.Duration
	}{
		{name: "build of the UKI"},
		{name: "build of the UKI and its disks", flags: []string{"--bios", "--formats", "raw,ova,vhd,gcp,iso"}},
	}
	var result appliance.Result
	for round := range rounds + 1 {
		for i, k := range kinds {
			args := append([]string{"appliance", "build", "--out", out, "--refresh", "build/packages.lock", "-o", "json"}, k.flags...)
			start := time.Now()
			said, err := exec.CommandContext(ctx, "bin/imageport", args...).Output()
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				err = fmt.Errorf("%w: %s", err, exit.Stderr)
			}
			if err != nil {
				return err
			}
			if round > 0 { // the first may download
				kinds[i].times = append(kinds[i].times, time.Since(start))
			}
			if err := json.Unmarshal(said, &result); err != nil {
				return err
			}
			if err := os.RemoveAll(out); err != nil {
				return err
			}
		}
	}
	for _, k := range kinds {
		fmt.Printf("%-34s %s\n", k.name, spread(k.times))
	}
	for _, f := range result.Files {
		goal := ""
		if f.Format == "uki" {
			goal = fmt.Sprintf("   goal: at most %.0f", float64(appliance.MaxSize)/(1<<20))
		}
		fmt.Printf("%-34s %6.1f MiB%s\n", "  "+f.Format, float64(f.SizeBytes)/(1<<20), goal)
	}
	fmt.Println()
	return nil
}
