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
			Dial: outside(session.Address(), Dialer(credentials(session), share.Options{Driver: session.ShareDriver})),
			Disk: disks,
		})
	})
	return group.Wait()
}

// stallTimeout is how long a share may keep an activity waiting for one answer:
// short enough that the share's own error comes before the activity's time-out.
const stallTimeout = 20 * time.Second

// Dialer gives the function with which both a worker and a Compositing Engine
// open the folder of a storage location. It asks for the credential each time.
func Dialer(credential func(ctx context.Context, id string) (share.Credential, error), options share.Options) dialFunc {
	options.StallTimeout = cmp.Or(options.StallTimeout, stallTimeout)
	return func(ctx context.Context, where job.StorageLocation) (share.Store, error) {
		folder, err := where.Folder()
		if err != nil {
			return nil, job.Errorf(job.BadRequest, "Correct the request", "inputStorageLocation: %w", err)
		}
		c, err := credential(ctx, where.CredentialID)
		if err != nil {
			return nil, err
		}
		return share.Dial(ctx, share.Location{Host: folder.Host, Port: folder.Port, Share: folder.Share, Folder: folder.Path}, c, options)
	}
}

// credentials gets credentials through the session.
func credentials(s *enrol.Session) func(context.Context, string) (share.Credential, error) {
	return func(ctx context.Context, id string) (share.Credential, error) {
		c, err := s.Credential(ctx, id)
		return share.Credential{Username: c.Username, Password: c.Password, Domain: c.Domain}, err
	}
}

type dialFunc = func(context.Context, job.StorageLocation) (share.Store, error)

// outside lets a storage location on localhost mean what it means to the
// worker: the machine that the gateway is on.
func outside(gateway string, dial dialFunc) dialFunc {
	host, _, err := net.SplitHostPort(gateway)
	if err != nil || job.Localhost(host) {
		return dial
	}
	return func(ctx context.Context, where job.StorageLocation) (share.Store, error) {
		if folder, err := where.Folder(); err == nil && job.Localhost(folder.Host) {
			where = job.StorageLocation{CredentialID: where.CredentialID, Host: host, Port: folder.Port, SharePath: folder.Share + "/" + folder.Path}
		}
		return dial(ctx, where)
	}
}
