package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"imageport/config"
	"imageport/job"
	"imageport/starter"
	"imageport/starter/httpapi"
	"imageport/starter/httpapi/auth"
	"imageport/wallet"
)

func (a *app) serveCommand() *cobra.Command {
	var listen string
	var log *logging
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the HTTP API",
		Long: `Serve the HTTP API: start, list, show, follow and cancel jobs and batches, and look after
credentials.
It runs until it is told to stop (^C, SIGTERM); jobs do not depend on it.

Who may do what is by API keys ("imageport serve keys") or by tokens of an OpenID Connect
issuer ([serve.oidc] in the configuration). /openapi.json describes the endpoints.`,
		Example: `  imageport serve
  imageport serve keys add ci --resource-location 5f3b
  imageport serve --listen 127.0.0.1:9000`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error { return a.serve(ctx, listen, log) }),
	}
	cmd.Flags().StringVar(&listen, "listen", "", "`host:port` to listen on (default: the configuration's, or 127.0.0.1:8088)")
	log = logFlags(cmd)
	cmd.AddCommand(a.serveKeysCommand())
	return cmd
}

func (a *app) serve(ctx context.Context, listen string, log *logging) error {
	cfg, err := config.Load(a.config)
	if err != nil {
		return err
	}
	if listen != "" {
		if cfg.Serve, err = cfg.Serve.On(listen); err != nil {
			return job.Errorf(job.BadRequest, "Correct --listen, or [serve] in the configuration", "%w", err)
		}
	}
	telemetry, logger, err := a.telemetry(ctx, log, cfg, "imageport-api", cfg.Metrics.ListenAPI)
	if err != nil {
		return err
	}
	defer closeTelemetry(ctx, telemetry, logger)
	c, o, err := a.connect(ctx, logger, telemetry.Connect)
	if err != nil {
		return err
	}
	defer c.Close()
	who, err := authenticators(cfg.Serve, logger)
	if err != nil {
		return err
	}
	api := httpapi.Config{Jobs: starter.New(c), Auth: who, Open: who == nil, Version: buildVersion().Version, Log: logger,
		MaxStreams: cfg.Serve.MaxStreams, Around: telemetry.HTTP}
	if !cfg.Serve.NoCredentials {
		secrets, err := wallet.Open(cfg.Wallet)
		if err != nil {
			return err
		}
		api.Credentials = servedWallet{secrets}
	}
	server, err := httpapi.New(api)
	if err != nil {
		return err
	}
	defer server.Close()
	scheme, secure, err := serveTLS(cfg.Serve, logger)
	if err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Serve.Listen)
	if err != nil {
		return job.Errorf(job.BadRequest, "Choose another address with --listen, or serve.listen in the configuration", "the HTTP API: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return telemetry.Serve(ctx) })
	group.Go(func() error {
		telemetry.Follow(ctx, c, o.Namespace, "") // also what waits for workers that do not run
		return nil
	})
	group.Go(func() error { return server.Serve(ctx, ln, secure) })
	logger.Info("serving the HTTP API", "address", scheme+"://"+ln.Addr().String(), "temporal", o.HostPort, "namespace", o.Namespace, "config", cfg.Path)
	return group.Wait()
}

// serveTLS gives the scheme of the configuration, and how to speak it: nil for
// HTTP without TLS.
func serveTLS(s config.Serve, logger *slog.Logger) (scheme string, secure *tls.Config, err error) {
	if s.CertFile == "" {
		return "http", nil, nil
	}
	secure, err = httpapi.TLS(s.CertFile, s.KeyFile, func(err error) {
		logger.Error("the certificate stays the one from before", "error", err)
	})
	if err != nil {
		return "", nil, job.Errorf(job.BadRequest, "Correct cert_file and key_file under [serve] in the configuration", "%w", err)
	}
	return "https", secure, nil
}

// authenticators gives those of the configuration; nil for a server that asks
// nobody.
func authenticators(s config.Serve, logger *slog.Logger) (auth.Authenticator, error) {
	if s.Auth == config.AuthNone {
		logger.Warn("whoever reaches this address may do everything: serve.auth is none", "address", s.Listen)
		return nil, nil
	}
	keys, err := auth.NewKeyFile(func() ([]byte, error) { return readKeys(s.KeysFile) }, func() (fs.FileInfo, error) { return os.Stat(s.KeysFile) }, time.Now, func(err error) {
		logger.Error("the API keys stay as they were", "file", s.KeysFile, "error", err)
	})
	if err != nil {
		return nil, job.Errorf(job.BadRequest, "Correct the file, or restore it from a backup", "%s: %w", s.KeysFile, err)
	}
	if s.OIDC.Issuer == "" {
		if len(keys.Keys().List()) == 0 {
			logger.Warn("there are no API keys, and nobody is let in: imageport serve keys add", "file", s.KeysFile)
		}
		return keys, nil
	}
	issuer := auth.Issuer{URL: s.OIDC.Issuer, Audience: s.OIDC.Audience, Claim: s.OIDC.Claim, NameClaim: s.OIDC.NameClaim}
	for _, g := range s.OIDC.Grants {
		issuer.Grants = append(issuer.Grants, auth.ClaimGrant{Value: g.Value, Grant: auth.Grant{ResourceLocations: g.ResourceLocations, ReadOnly: g.ReadOnly, Credentials: g.Credentials}})
	}
	tokens, err := auth.OIDC(issuer, nil, time.Now)
	if err != nil {
		return nil, job.Errorf(job.BadRequest, "Correct [serve.oidc] in the configuration", "%w", err)
	}
	return auth.First(keys, tokens), nil
}

// readKeys reads the file of API keys. It must not be writable by others: they
// could let themselves in.
func readKeys(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch mode := st.Mode(); {
	case !mode.IsRegular():
		return nil, errors.New("it is not a regular file")
	case mode.Perm()&0o022 != 0:
		return nil, fmt.Errorf("others than its owner may write it (mode %04o): chmod 600", mode.Perm())
	case st.Size() > auth.MaxKeysBytes:
		return nil, fmt.Errorf("it has more than %d bytes", auth.MaxKeysBytes)
	}
	return os.ReadFile(path)
}
