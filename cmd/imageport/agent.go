package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"imageport/config"
	"imageport/engine/agent"
	"imageport/engine/share"
	"imageport/platforms"
	"imageport/platforms/local"
	"imageport/wallet"
	"imageport/worker"
)

// reconnectPause is how long the agent waits before it tries Temporal again.
const reconnectPause = time.Second

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
	seed, err := readSeed(seedFile)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(ctx, seed.Deadline)
	defer cancel()
	cfg, err := config.Load(a.config)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(a.err, nil)).With("ce", seed.Name)
	c, err := a.connectPatiently(ctx, logger)
	if err != nil {
		return err
	}
	if c == nil {
		return nil
	}
	defer c.Close()
	logger.Info("polling", "queue", seed.TaskQueue, "deadline", seed.Deadline)
	engine := &agent.Engine{Dial: worker.Dialer(wallet.Dir(cfg.Wallet), share.Options{Driver: cfg.ShareDriver})}
	return agent.Run(ctx, c, seed.TaskQueue, seed.Deadline, engine)
}

// connectPatiently connects to Temporal, however long it takes: nobody starts
// the agent again. It gives nil when ctx ends first.
func (a *app) connectPatiently(ctx context.Context, logger *slog.Logger) (client.Client, error) {
	for {
		c, _, err := a.connect(ctx, logger)
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, nil
		}
		logger.Warn("trying again", "error", err)
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(reconnectPause):
		}
	}
}

func readSeed(path string) (platforms.Seed, error) {
	f, err := os.Open(path)
	if err != nil {
		return platforms.Seed{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, platforms.MaxSeedBytes+1))
	if err != nil {
		return platforms.Seed{}, fmt.Errorf("read %s: %w", path, err)
	}
	return platforms.DecodeSeed(b)
}
