package share

import (
	"context"
	"fmt"
	"io"
	"time"

	"imageport/job"
)

// Store is one folder. Its methods may be called concurrently. Names are plain
// file names: no separators, no "..", no streams; others are refused with
// job.BadRequest.
//
// An operation on an SMB share whose context ends takes its connection down, so
// that nothing more of it is sent; the next operation makes a new connection.
type Store interface {
	// Open opens a file for reading. The file may be closed after the store.
	Open(ctx context.Context, name string) (File, error)
	// CreateExcl makes a new, empty file. The error is fs.ErrExist if there is
	// one of that name.
	CreateExcl(ctx context.Context, name string) (WritableFile, error)
	// Rename gives the file from the name to. It does not replace: the error is
	// fs.ErrExist if there is a file of that name. The file must not be open.
	// After job.ShareIO it may or may not have happened: Stat tells.
	//
	// Whether nothing can come between the look and the rename is up to the
	// server. In a local directory nothing can. Samba looks first and then
	// renames, so of two renames to one name within microseconds both may
	// succeed, and the later one replaces. Those who may publish under one name
	// at the same time must first claim it with CreateExcl, which is safe.
	Rename(ctx context.Context, from, to string) error
	// Remove deletes a file. The error is fs.ErrNotExist if there is none.
	Remove(ctx context.Context, name string) error
	// Stat describes a file. The error is fs.ErrNotExist if nothing has the name,
	// and job.OutputExists and fs.ErrExist if a folder has it.
	Stat(ctx context.Context, name string) (Info, error)
	// List describes the files of the folder, sorted by name. Folders in it are
	// left out.
	List(ctx context.Context) ([]Info, error)
	// Writable fails with job.ShareDenied if the user may not make files in the
	// folder. It asks only, and changes nothing.
	Writable(ctx context.Context) error
	// Free gives the bytes that the user may still write to the volume.
	Free(ctx context.Context) (bytes int64, err error)
	// Close aborts what is under way and frees the connections. It does not
	// wait for the server.
	Close() error
}

// Info describes a file.
type Info struct {
	Name    string
	Size    int64 // bytes
	ModTime time.Time
}

// File is a file opened for reading. ReadAt may be called concurrently, and
// issues the pieces of a large read at the same time. A lost connection is made
// anew, for as long as Options.Patience if the server is away, and the file
// reopened; the error is job.SourceChanged if its size or modification time is
// then another, or if it is gone. No error of an open file is fs.ErrNotExist.
type File interface {
	io.ReaderAt
	io.Closer
	// Size is the size in bytes when the file was opened.
	Size() int64
	// ModTime is the modification time when the file was opened.
	ModTime() time.Time
}

// WritableFile is a file made by CreateExcl. WriteAt may be called
// concurrently, and issues the pieces of a large write at the same time. A lost connection fails with job.ShareIO for good: what the
// server has of the file is then unknown, and the writer starts a fresh file.
type WritableFile interface {
	io.WriterAt
	io.Closer
	// Sync returns when the server says that all that was written is on stable
	// storage.
	Sync() error
}

// The SMB client libraries that Options.Driver may name.
const (
	// DriverCloudSoda is the default.
	DriverCloudSoda = "cloudsoda"
	// DriverHirochachacha is slower, and of little use with a server that requires
	// signing: it takes the server's interim answers, which are unsigned by design
	// ([MS-SMB2] 3.2.5.1.3), for forged, and fails whatever the server did not
	// answer at once. It is there for servers with which the default has trouble.
	DriverHirochachacha = "hirochachacha"
)

// Options tune Dial. The zero value is right for most.
type Options struct {
	// Driver names the SMB library. Empty is DriverCloudSoda.
	Driver string
	// DialTimeout limits making one connection, logon included. 0 is 15 s.
	DialTimeout time.Duration
	// StallTimeout is how long the server may keep silent while a request waits
	// before the connection counts as lost. A request that waits ten times as
	// long loses it even if the server sends other things. Sync gets ten times
	// the time. 0 is 60 s.
	StallTimeout time.Duration
	// Connections is the number of connections that reads are spread over. One is
	// made by Dial, others when reads come at the same time. 0 is 4, 8 the most.
	Connections int
	// Patience is how long operations wait for a server that went away after
	// Dial: reads, Open, Stat, List and Free, and whatever has not been sent yet.
	// 0 is 30 s; negative is not at all, but a connection that is merely lost is
	// made anew once.
	Patience time.Duration
}

// maxConnections is more than is of use.
//
// It also bounds the memory of a store. A library holds an answer, of maxIO
// bytes, from when it comes in until it is copied to the reader, and on each
// connection one more that is being received and one that is being decrypted:
// (reads under way + 2 x Connections) x 1 MiB, and at most maxRequests reads are
// under way for each connection. With the 4 connections and the 8 readers of a
// copy that is 16 MiB, with 64 readers 72 MiB, for files of any size. The
// libraries use the memory again, so that there is next to no garbage.
const maxConnections = 8

func (o Options) withDefaults() (Options, error) {
	if o.Driver == "" {
		o.Driver = DriverCloudSoda
	}
	if _, ok := drivers[o.Driver]; !ok {
		return o, job.Errorf(job.BadRequest,
			fmt.Sprintf("Use %q or %q", DriverCloudSoda, DriverHirochachacha),
			"there is no SMB driver %q", o.Driver)
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = 15 * time.Second
	}
	if o.StallTimeout <= 0 {
		o.StallTimeout = time.Minute
	}
	if o.Connections < 1 {
		o.Connections = 4
	}
	o.Connections = min(o.Connections, maxConnections)
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	return o, nil
}
