package share

import (
	"context"
	"io"
	"io/fs"
)

// driver is one SMB library.
type driver struct {
	// logon negotiates a session on a connection. The context is the link's own.
	logon func(ctx context.Context, l *link, cred Credential) (logon, error)
	// replaces is set if the library's rename replaces the target.
	replaces bool
}

// drivers by their names in Options.
var drivers = map[string]driver{
	DriverCloudSoda:     {logon: cloudsodaLogon, replaces: true},
	DriverHirochachacha: {logon: hirochachachaLogon},
}

// logon is an authenticated session.
type logon interface {
	// tree connects to a share by its UNC path. Its operations end with ctx.
	tree(ctx context.Context, unc string) (tree, error)
}

// tree is a connected share. Paths are '\'-separated, seen from its root.
type tree interface {
	openFile(path string, flag int) (remoteFile, error)
	free(path string) (int64, error)
	Rename(from, to string) error
	Remove(path string) error
	Stat(path string) (fs.FileInfo, error)
	ReadDir(path string) ([]fs.FileInfo, error)
}

// remoteFile is an open handle.
type remoteFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Sync() error
}

// maxCredits bounds the credits of a connection, and with them the requests
// under way ([MS-SMB2] 3.2.4.1.5): a read of 1 MiB takes 16. The libraries'
// default of 128 would allow 8 of those.
const maxCredits = 512
