package main

import (
	"cmp"
	"context"
	"net"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"imageport/config"
	"imageport/engine/upgrade"
	"imageport/job"
	"imageport/platforms/qemu"
	"imageport/wallet"
	"imageport/worker"
	"imageport/worker/installed"
)

func (a *app) workerCommand() *cobra.Command {
	var resourceLocation string
	var log *logging
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Serve a resource location",
		Long: `Serve a resource location: check requests, create and remove Compositing Engines, and
carry the jobs on. It runs until it is told to stop (^C, SIGTERM); jobs go on when a
worker of the resource location runs again.`,
		Example: `  imageport worker --resource-location 5f3b
  TEMPORAL_ADDRESS=temporal:7233 imageport worker --config /etc/imageport/config.toml`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error { return a.runWorker(ctx, resourceLocation, log) }),
	}
	log = logFlags(cmd)
	cmd.Flags().StringVar(&resourceLocation, "resource-location", "", "`id` of the resource location, which is the task queue (default: the configuration's)")
	return cmd
}

func (a *app) runWorker(ctx context.Context, resourceLocation string, log *logging) error {
	cfg, err := config.Load(a.config)
	if err != nil {
		return err
	}
	secrets, err := wallet.Open(cfg.Wallet)
	if err != nil {
		return err
	}
	version, err := workerVersion(cfg.Versioning)
	if err != nil {
		return err
	}
	telemetry, logger, err := a.telemetry(ctx, log, cfg, "imageport-worker", cfg.Metrics.Listen)
	if err != nil {
		return err
	}
	defer closeTelemetry(ctx, telemetry, logger)
	o, err := a.temporal(logger, telemetry.Connect)
	if err != nil {
		return err
	}
	placed, err := installed.Open(cfg, secrets)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logOutTimeout)
		defer cancel()
		if err := placed.Close(ctx); err != nil {
			logger.Warn("sessions of platforms may stay open for a while", "error", err)
		}
	}()
	serving := worker.Config{
		ResourceLocation: cmp.Or(resourceLocation, cfg.ResourceLocation),
		Namespace:        o.Namespace,
		Wallet:           secrets,
		ShareDriver:      cfg.ShareDriver,
		EnrolWithin:      cfg.EnrolWithin,
		CELifetime:       cfg.CELifetime,
		StateDir:         cfg.Local.StateDir,
		AgentProgram:     cfg.Local.AgentProgram,
		Gateway:          worker.Gateway{Listen: cfg.Gateway.Listen, Address: cfg.Gateway.Address, KeyFile: cfg.Gateway.Key, CEsPerAddress: cfg.Gateway.CEsPerAddress},
		OutputDir:        cfg.Local.OutputDir,
		Guest:            cfg.Local.Guest,
		Catalogue:        catalogueOf(cfg.Catalogue),
		Platforms:        placed.Registry,
		SweepEvery:       sweepEvery(cfg.Sweep),
		Log:              logger,
		Interceptors:     telemetry.Interceptors(),
		Version:          version,
		QEMU: qemu.Config{Image: cfg.QEMU.Image, StateDir: cfg.QEMU.StateDir, Accel: cfg.QEMU.Accel, Firmware: cfg.QEMU.Firmware,
			MemoryMB: cfg.QEMU.MemoryMB, CPUs: cfg.QEMU.CPUs, Network: cfg.QEMU.Network, OutputDir: cfg.QEMU.OutputDir},
	}
	if err := serving.Validate(); err != nil {
		return job.Errorf(job.BadRequest, "Correct the flags, or the configuration", "the worker cannot serve: %w", err)
	}
	c, err := dial(ctx, o)
	if err != nil {
		return err
	}
	defer c.Close()
	w, err := worker.New(c, serving)
	if err != nil {
		return err
	}
	if cfg.QEMU.Image != "" && cmp.Or(cfg.QEMU.Network, "user") == "user" && exposed(o) {
		logger.Warn("a Compositing Engine on QEMU's user network reaches what listens on localhost, and so this Temporal server, which asks nobody who he is: good for a demo. Set network under [qemu] to a bridge, or protect the server", "temporal", o.HostPort)
	}
	logger.Info("serving", "resourceLocation", serving.ResourceLocation, "temporal", o.HostPort, "namespace", o.Namespace, "config", cfg.Path)
	group, ctx := errgroup.WithContext(ctx)
	// The metrics are there until the worker has stopped.
	observed, done := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		defer done()
		return w.Run(ctx)
	})
	group.Go(func() error { return telemetry.Serve(observed) })
	group.Go(func() error {
		telemetry.Follow(ctx, c, o.Namespace, serving.ResourceLocation)
		return nil
	})
	return group.Wait()
}

// workerVersion is what Temporal is told of the worker's release.
func workerVersion(v config.Versioning) (worker.Version, error) {
	if v.Deployment == "" {
		return worker.Version{}, nil
	}
	id := cmp.Or(v.BuildID, buildVersion().Revision)
	if id == "" {
		return worker.Version{}, job.Errorf(job.BadRequest, "Set build_id under [versioning] in the configuration", "the program does not know which release it is")
	}
	return worker.Version{Deployment: v.Deployment, BuildID: id, Pinned: v.Behavior == config.BehaviorPinned}, nil
}

// catalogueOf says where the installers are.
func catalogueOf(c config.Catalogue) upgrade.Catalogue {
	if where, ok := c.Location(); ok {
		return upgrade.Catalogue{Share: &where}
	}
	return upgrade.Catalogue{Dir: c.Dir}
}

// logOutTimeout is how long the worker says good-bye to platforms.
const logOutTimeout = 10 * time.Second

// sweepEvery is how often a worker sweeps: never is negative.
func sweepEvery(s config.Sweep) time.Duration {
	if s.Off {
		return -1
	}
	return s.Every
}

// exposed reports whether the Temporal server is open to all on this machine.
func exposed(o client.Options) bool {
	host, _, err := net.SplitHostPort(o.HostPort)
	return err == nil && job.Localhost(host) && o.ConnectionOptions.TLS == nil && o.Credentials == nil
}
