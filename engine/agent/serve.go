package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"imageport/engine/enrol"
	"imageport/engine/share"
	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
)

// Serve is the life of a Compositing Engine: it enrols at the gateway of its
// seed, and works for its job until ctx ends or the deadline passes, which are
// no errors, or until the gateway says that the job needs it no more. Output
// disks are opened by disks.
func Serve(ctx context.Context, s seed.Seed, disks Disks, log *slog.Logger) error {
	ctx, cancel := context.WithDeadline(ctx, s.Deadline)
	defer cancel()
	journal := NewJournal()
	journal.Conceal(s.Gateway.Token)
	log = journal.Beside(log)
	session, err := enrol.Open(ctx, s, log)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer session.Close()
	log.Info("enrolled", "gateway", session.Address())
	c, err := client.DialContext(ctx, client.Options{
		HostPort:          session.Address(),
		Identity:          s.Name,
		Logger:            sdklog.NewStructuredLogger(log),
		ConnectionOptions: client.ConnectionOptions{TLS: session.TLS(), DialOptions: []grpc.DialOption{enrol.Reconnect(), durable.PatientHeartbeats()}},
	})
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("through the gateway %s: %w", session.Address(), err)
	}
	defer c.Close()

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return session.Keep(ctx) })
	group.Go(func() error {
		return Run(ctx, c, seed.Queue(s.Name), &Engine{
			Dial: dialer(credentials(session, journal), share.Options{Driver: session.ShareDriver}, outside(session.Address())),
			Disk: disks, Journal: journal,
		})
	})
	return group.Wait()
}

// stallTimeout is how long a share may keep an activity waiting for one answer:
// short enough that the share's own error comes before the activity's time-out.
const stallTimeout = 20 * time.Second

// Dialer gives the function with which both a worker and a Compositing Engine
// open the folder of a storage location. It asks for the credential each time,
// for the location's host. A request may name any host, and NTLM gives it what a
// password can be guessed from: so credential must refuse hosts that the
// credential is not for, and then nobody is dialled.
func Dialer(credential credentialFunc, options share.Options) dialFunc {
	return dialer(credential, options, func(host string) string { return host })
}

type (
	dialFunc       = func(context.Context, job.StorageLocation) (share.Store, error)
	credentialFunc = func(ctx context.Context, id, host string) (share.Credential, error)
)

// dialer is a Dialer that dials a host at another address.
func dialer(credential credentialFunc, options share.Options, address func(host string) string) dialFunc {
	options.StallTimeout = cmp.Or(options.StallTimeout, stallTimeout)
	return func(ctx context.Context, where job.StorageLocation) (share.Store, error) {
		folder, err := where.Folder()
		if err != nil {
			return nil, job.Errorf(job.BadRequest, "Correct the request", "inputStorageLocation: %w", err)
		}
		c, err := credential(ctx, where.CredentialID, folder.Host)
		if err != nil {
			return nil, err
		}
		return share.Dial(ctx, share.Location{Host: address(folder.Host), Port: folder.Port, Share: folder.Share, Folder: folder.Path}, c, options)
	}
}

// credentials gets credentials through the session. No log is to show their
// passwords.
func credentials(s *enrol.Session, journal *Journal) credentialFunc {
	return func(ctx context.Context, id, host string) (share.Credential, error) {
		c, err := s.Credential(ctx, id, host)
		journal.Conceal(c.Password)
		return share.Credential{Username: c.Username, Password: c.Password, Domain: c.Domain}, err
	}
}

// outside lets localhost mean what it means to the worker: the machine that the
// gateway is on.
func outside(gateway string) (address func(host string) string) {
	worker, _, err := net.SplitHostPort(gateway)
	elsewhere := err == nil && !job.Localhost(worker)
	return func(host string) string {
		if elsewhere && job.Localhost(host) {
			return worker
		}
		return host
	}
}
