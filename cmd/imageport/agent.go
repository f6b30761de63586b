package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"imageport/engine/agent"
	"imageport/job/seed"
	"imageport/platforms/local"
)

func (a *app) agentCommand() *cobra.Command {
	var seed string
	cmd := &cobra.Command{
		Use:   "agent --seed file",
		Short: "Be the agent of a Compositing Engine on the platform local",
		Long: `Be the agent of a Compositing Engine on the platform local. The worker starts it; it runs
until it is told to stop, or until the deadline in its seed.`,
		Example: `  imageport agent --seed ~/.local/state/imageport/ce/ce-0123456789ab/seed.json`,
		Hidden:  true,
		Args:    cobra.NoArgs,
		RunE:    a.do(func(ctx context.Context, _ []string) error { return a.runAgent(ctx, seed) }),
	}
	cmd.Flags().StringVar(&seed, "seed", "", "`file` with the seed of the Compositing Engine")
	_ = cmd.MarkFlagRequired("seed") // it fails for a flag that is not there
	return cmd
}

func (a *app) runAgent(ctx context.Context, seedFile string) error {
	release, err := local.Claim(seedFile)
	if errors.Is(err, local.ErrSuperseded) {
		return nil // as agreed with the driver
	}
	if err != nil {
		return err
	}
	defer release()
	s, err := readSeed(seedFile)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(a.err, nil)).With("ce", s.Name)
	if err := agent.Serve(ctx, s, agent.FolderDisks(filepath.Join(filepath.Dir(seedFile), "disks")), logger); err != nil {
		fmt.Fprintln(a.err, seed.Failed+err.Error()) // the driver looks for it in the last line
		return said{err}
	}
	return nil
}

func readSeed(path string) (seed.Seed, error) {
	f, err := os.Open(path)
	if err != nil {
		return seed.Seed{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, seed.MaxBytes+1))
	if err != nil {
		return seed.Seed{}, fmt.Errorf("read %s: %w", path, err)
	}
	return seed.Decode(b)
}
