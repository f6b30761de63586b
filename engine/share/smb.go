package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"imageport/job"
)

// Dial opens a folder of an SMB share: it connects, logs on, and looks whether
// the folder is there. The store lives until Close or until ctx ends, whichever
// comes first: both abort everything under way, including reads and writes of
// its files, which take no context.
//
// Dial itself does not wait for a server that is away: Options.Patience is for
// one that goes away later.
func Dial(ctx context.Context, loc Location, cred Credential, opt Options) (Store, error) {
	if err := loc.check(); err != nil {
		return nil, err
	}
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	if cred.Username == "" {
		cred.Username = loc.User
	}
	if user, _ := cred.account(); user == "" {
		return nil, job.Errorf(job.ShareAuthFailed, "Put a user name into the credential",
			"the credential for %s has no user name", loc)
	}
	s := &smbStore{
		loc: loc, opt: opt, user: cred.display(),
		slots:  make([]slot, opt.Connections),
		window: make(chan struct{}, opt.Connections*maxRequests),
	}
	for i := range s.slots {
		s.slots[i].turn = make(chan struct{}, 1)
	}
	// The credential is only held by closures: printing the store, however
	// deeply, cannot reach it.
	drv := drivers[opt.Driver]
	s.logon = func(ctx context.Context, l *link) (logon, error) { return drv.logon(ctx, l, cred) }
	if drv.replaces {
		// The library's rename always replaces (ReplaceIfExists = 1 in
		// FILE_RENAME_INFORMATION), and nothing that it exports sends another
		// one. Checking first would leave a gap of a round trip, so renames go
		// over a short connection of their own with the library that sends 0.
		plain := drivers[DriverHirochachacha]
		s.renameLogon = func(ctx context.Context, l *link) (logon, error) { return plain.logon(ctx, l, cred) }
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	if err := s.checkFolder(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	s.patience = opt.Patience
	return s, nil
}

// smbStore is a folder on a share.
type smbStore struct {
	loc         Location
	opt         Options
	user        string // for messages
	logon       logonFunc
	renameLogon logonFunc // nil: the same
	ctx         context.Context
	cancel      context.CancelCauseFunc
	patience    time.Duration // Options.Patience once dialled, 0 before
	slots       []slot
	window      chan struct{} // holds one for each read under way, and what is kept
	mu          sync.Mutex    // what follows and what slots say is under it
	roundTrip   time.Duration // or somewhat longer; 0: not known
	kept        int           // places in the window that are not used any more
}

type logonFunc func(context.Context, *link) (logon, error)

// errClosed is the cause of the end of a store that was closed.
var errClosed = fmt.Errorf("the share is closed: %w", fs.ErrClosed)

func (s *smbStore) Close() error {
	s.cancel(errClosed)
	return nil
}

// do runs a request on the first connection. One that only asks is repeated if
// the connection was lost.
func (s *smbStore) do(ctx context.Context, ask bool, op, name string, request func(*session) error) error {
	return s.persist(ctx, func() (outcome, error) {
		ses, err := s.session(ctx, 0)
		if err != nil {
			return away(err), err
		}
		err = ses.call(ctx, s.opt.StallTimeout, request)
		if err == nil {
			return settled, nil
		}
		lost := s.lost(ctx, ses)
		err = s.fault(ctx, ses.link, op, name, err)
		switch {
		case !ask:
			return settled, err
		case lost:
			return connectionLost, err
		}
		return away(err), err
	})
}

// lost reports whether a request failed because the connection went, and nobody
// wanted that.
func (s *smbStore) lost(ctx context.Context, ses *session) bool {
	return !ses.alive() && ctx.Err() == nil && s.ctx.Err() == nil
}

// outcome says whether an operation that failed is worth another attempt.
type outcome int

const (
	settled        outcome = iota // no: it succeeded, or the server refused it
	connectionLost                // at once: as a rule only the connection is gone
	serverAway                    // after a while: the server itself is gone, or cannot now
)

// away is the outcome of an attempt to connect, and of a request that the
// server has answered and that only asks.
func away(err error) outcome {
	if job.CodeOf(err) == job.ShareUnreachable {
		return serverAway
	}
	return settled
}

// The pause between two attempts to reach a server that is away.
const (
	minPause = 50 * time.Millisecond
	maxPause = time.Second
)

// persist repeats what failed for want of the server: once at once, then until
// the store's patience is over.
func (s *smbStore) persist(ctx context.Context, attempt func() (outcome, error)) error {
	var since time.Time // of the first failure
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		how, err := attempt()
		if how == settled || ctx.Err() != nil || s.ctx.Err() != nil {
			return err
		}
		first := since.IsZero()
		if first {
			since = time.Now()
		}
		if first && how == connectionLost {
			continue
		}
		if time.Since(since)+pause > s.patience {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		case <-s.ctx.Done():
		}
	}
}

func (s *smbStore) checkFolder(ctx context.Context) error {
	var info fs.FileInfo
	err := s.do(ctx, true, "look for the folder", "", func(ses *session) (err error) {
		info, err = ses.tree.Stat(s.loc.folder())
		return err
	})
	const remedy = "Check the folder in the request against the share"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return job.Errorf(job.ShareNotFound, remedy,
			"there is no folder %q on \\\\%s\\%s", s.loc.Folder, s.loc.Host, s.loc.Share)
	case err != nil:
		return err
	case !info.IsDir():
		return job.Errorf(job.ShareNotFound, remedy,
			"%q on \\\\%s\\%s is a file, not a folder", s.loc.Folder, s.loc.Host, s.loc.Share)
	}
	return nil
}
