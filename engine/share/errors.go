package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"imageport/job"
)

var errIsFolder = errors.New("it is a folder")

// The remedies that more than one refusal gives.
const (
	remedyReach   = "Check that the file server is up and that this machine may reach it on that port (DNS, routing, firewall)"
	remedyLogon   = "Check user name, domain and password of the credential"
	remedyAccount = "Have the account put right in Active Directory or on the file server"
	remedyShare   = "Check the name of the share in the request and on the file server"
	remedyPermit  = "Give the user read and write permission, both on the share and on the folder"
	remedySpace   = "Free space on the volume or raise the quota, then start the job again"
	remedyServer  = "Look at the file server's event log and disks"
	remedyInUse   = "Close what holds the file open (a PVS server, a backup, a virus scanner)"
	remedyFile    = "Check the name of the file, including its extension"
)

// dialFault explains why there is no connection.
func (s *smbStore) dialFault(ctx context.Context, err error) error {
	if e := s.ended(ctx, "connect to "+s.loc.addr()); e != nil {
		return e
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return job.Errorf(job.ShareUnreachable,
			"Check the name of the file server in the request, and the DNS servers of this machine",
			"cannot find the address of the file server %s: %w", s.loc.Host, dns)
	}
	return job.Errorf(job.ShareUnreachable, remedyReach, "no file server answers at %s: %w", s.loc.addr(), err)
}

// logonFault explains why the server did not let the user in.
func (s *smbStore) logonFault(ctx context.Context, l *link, err error) error {
	if e := s.ended(ctx, "log on to "+s.loc.addr()); e != nil {
		return e
	}
	err = plain(err)
	if r, ok := known(err); ok {
		return job.Errorf(r.code, r.remedy, "logon of %s at %s failed: %s: %w", s.user, s.loc.addr(), r.what, err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return job.Errorf(job.ShareAuthFailed, remedyLogon, "logon of %s at %s failed: access denied: %w", s.user, s.loc.addr(), err)
	}
	if !l.alive() {
		return job.Errorf(job.ShareUnreachable, remedyReach+". It must speak SMB 2 or 3",
			"the file server at %s broke off before the logon: %w", s.loc.addr(), l.cause())
	}
	return job.Errorf(job.ShareAuthFailed,
		"The server must allow SMB 2 or 3 with NTLMv2. "+remedyLogon,
		"logon of %s at %s failed: %w", s.user, s.loc.addr(), err)
}

// treeFault explains why the share cannot be connected.
func (s *smbStore) treeFault(ctx context.Context, l *link, err error) error {
	unc := `\\` + s.loc.Host + `\` + s.loc.Share
	if e := s.ended(ctx, "connect to "+unc); e != nil {
		return e
	}
	err = plain(err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Without the cause: fs.ErrNotExist is for files.
		return job.Errorf(job.ShareNotFound, remedyShare, "there is no share %s: %v", unc, err)
	case errors.Is(err, fs.ErrPermission):
		return job.Errorf(job.ShareDenied, remedyPermit, "user %s may not use the share %s: %w", s.user, unc, err)
	case !l.alive():
		return job.Errorf(job.ShareUnreachable, remedyReach,
			"the file server at %s broke off before the share %s was connected: %w", s.loc.addr(), unc, l.cause())
	}
	if r, ok := known(err); ok {
		return job.Errorf(r.code, r.remedy, "connect to %s: %s: %w", unc, r.what, err)
	}
	return job.Errorf(job.ShareIO, remedyServer, "connect to %s: %w", unc, err)
}

// fault explains why an operation on a file of the folder failed, or on the
// folder if name is empty.
func (s *smbStore) fault(ctx context.Context, l *link, op, name string, err error) error {
	target := s.loc.String()
	if name != "" {
		target = s.loc.file(name)
	}
	what := target + ": " + op
	if e := s.ended(ctx, what); e != nil {
		return e
	}
	err = plain(err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return missingError(target, op)
	case errors.Is(err, fs.ErrExist):
		return existsError(target, op)
	case errors.Is(err, fs.ErrPermission):
		return job.Errorf(job.ShareDenied, remedyPermit, "%s: user %s may not: %w", what, s.user, err)
	case errors.Is(err, errIsFolder):
		return folderError(target)
	case !l.alive():
		return s.lostError(what, l)
	}
	if r, ok := known(err); ok {
		return job.Errorf(r.code, r.remedy, "%s: %s: %w", what, r.what, err)
	}
	return job.Errorf(job.ShareIO, remedyServer, "%s: %w", what, err)
}

func (s *smbStore) lostError(what string, l *link) error {
	return job.Errorf(job.ShareIO, "Check the network to the file server, and the server",
		"%s: lost the connection to %s: %w", what, s.loc.addr(), l.cause())
}

// plain strips what a library says about the operation, which our messages say.
func plain(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		err = e.Err
	}
	if status := ntStatus(err); status != 0 {
		return &answer{status, err}
	}
	return err
}

// answer is a refusal by the server.
type answer struct {
	status uint32
	err    error
}

func (a *answer) Error() string { return fmt.Sprintf("the server answered 0x%08X", a.status) }
func (a *answer) Unwrap() error { return a.err }

// ended gives the error of an operation whose context, or whose store, came to
// its end, and nil if neither did.
func (s *smbStore) ended(ctx context.Context, what string) error {
	if ctx.Err() == nil {
		ctx = s.ctx
	}
	if errors.Is(context.Cause(ctx), errClosed) {
		return closedError(what)
	}
	return contextError(ctx, what)
}

// contextError is nil while the context lasts. A cancelled one is nobody's
// fault and stays a plain error; a deadline that passed is the server's.
func contextError(ctx context.Context, what string) error {
	err := ctx.Err()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return job.Errorf(job.ShareUnreachable, remedyReach, "%s: not done in time: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func closedError(what string) error {
	return job.Errorf(job.ShareIO, "", "%s: used after it was closed: %w", what, fs.ErrClosed)
}

func missingError(target, op string) error {
	return job.Errorf(job.ImageNotFound, remedyFile, "%s: there is no file %s: %w", op, target, fs.ErrNotExist)
}

func existsError(target, op string) error {
	return job.Errorf(job.OutputExists, "Choose another name, or remove the file",
		"%s: there is a file %s already: %w", op, target, fs.ErrExist)
}

// folderError is the error of who wants to read the file.
func folderError(target string) error {
	return job.Errorf(job.ImageNotFound, remedyFile, "%s is a folder, not a file", target)
}

// inTheWayError is the error of who asks what has the name. It matches
// fs.ErrExist: the name is taken, though not by a file.
func inTheWayError(target, what string) error {
	return job.Errorf(job.OutputExists, "Choose another name, or remove it",
		"%s is %s, not a file: %w", target, what, fs.ErrExist)
}

// changedError never has fs.ErrNotExist as its cause, not even if the file has
// vanished: who gets it has had the file open.
func changedError(target, how string) error {
	return job.Errorf(job.SourceChanged, "Start the job again when nothing writes to the file",
		"%s changed while it was read: %s", target, how)
}
