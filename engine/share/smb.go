package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"

	"imageport/job"
)

// Dial opens a folder of an SMB share: it connects, logs on, and looks whether
// the folder is there. The store lives until Close or until ctx ends, whichever
// comes first: both abort everything under way, including reads and writes of
// its files, which take no context.
func Dial(ctx context.Context, loc Location, cred Credential, opt Options) (Store, error) {
	if err := loc.check(); err != nil {
		return nil, err
	}
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	if user, _ := cred.account(); user == "" {
		return nil, job.Errorf(job.ShareAuthFailed, "Put a user name into the credential",
			"the credential for %s has no user name", loc)
	}
	s := &smbStore{loc: loc, opt: opt, user: cred.display(), slots: make([]slot, opt.Connections)}
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
	slots       []slot
}

type logonFunc func(context.Context, *link) (logon, error)

// slot is the place of one connection.
type slot struct {
	turn chan struct{} // held by who looks at or replaces the session
	ses  *session
}

// errClosed is the cause of the end of a store that was closed.
var errClosed = fmt.Errorf("the share is closed: %w", fs.ErrClosed)

func (s *smbStore) Close() error {
	s.cancel(errClosed)
	return nil
}

// session gives the i-th connection, made anew if it is gone.
func (s *smbStore) session(ctx context.Context, i int) (*session, error) {
	sl := &s.slots[i]
	select {
	case sl.turn <- struct{}{}:
		defer func() { <-sl.turn }()
	case <-ctx.Done():
		return nil, s.ended(ctx, "connect to "+s.loc.addr())
	case <-s.ctx.Done():
		return nil, s.ended(s.ctx, "connect to "+s.loc.addr())
	}
	if sl.ses != nil && sl.ses.alive() {
		return sl.ses, nil
	}
	ses, err := s.connect(ctx, s.logon)
	if err != nil {
		return nil, err
	}
	sl.ses = ses
	return ses, nil
}

// connect makes a connection that dies with the store.
func (s *smbStore) connect(ctx context.Context, logon logonFunc) (*session, error) {
	dial, cancel := context.WithTimeoutCause(ctx, s.opt.DialTimeout,
		fmt.Errorf("%w for %v", errStalled, s.opt.DialTimeout))
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()

	conn, err := (&net.Dialer{}).DialContext(dial, "tcp", s.loc.addr())
	if err != nil {
		return nil, s.dialFault(ctx, err)
	}
	l := newLink(conn)
	forget := l.killAfter(s.ctx)
	context.AfterFunc(l.ctx, func() { forget() })
	defer l.killAfter(dial)()

	user, err := logon(l.ctx, l)
	if err != nil {
		defer l.kill(err)
		return nil, s.logonFault(ctx, l, err)
	}
	t, err := user.tree(l.ctx, `\\`+s.loc.Host+`\`+s.loc.Share)
	if err != nil {
		defer l.kill(err)
		return nil, s.treeFault(ctx, l, err)
	}
	return &session{link: l, tree: t}, nil
}

// do runs a request on the first connection. One that only asks is repeated
// once if the connection was lost.
func (s *smbStore) do(ctx context.Context, ask bool, op, name string, request func(*session) error) error {
	for {
		ses, err := s.session(ctx, 0)
		if err != nil {
			return err
		}
		err = ses.call(ctx, s.opt.StallTimeout, request)
		if err == nil {
			return nil
		}
		if ask && s.lost(ctx, ses) {
			ask = false
			continue
		}
		return s.fault(ctx, ses.link, op, name, err)
	}
}

// lost reports whether a request failed because the connection went, and nobody
// wanted that.
func (s *smbStore) lost(ctx context.Context, ses *session) bool {
	return !ses.alive() && ctx.Err() == nil && s.ctx.Err() == nil
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
			"there is no folder %q on \\\\%s\\%s: %w", s.loc.Folder, s.loc.Host, s.loc.Share, fs.ErrNotExist)
	case err != nil:
		return err
	case !info.IsDir():
		return job.Errorf(job.ShareNotFound, remedy,
			"%q on \\\\%s\\%s is a file, not a folder", s.loc.Folder, s.loc.Host, s.loc.Share)
	}
	return nil
}
