package chain

import (
	"context"
	"io"
	"time"
)

// File is an image file, open for reading. ReadAt must be safe for concurrent
// use.
type File interface {
	io.ReaderAt
	io.Closer
	// Size in bytes and ModTime are those of when the file was opened.
	Size() int64
	ModTime() time.Time
}

// Folder opens files by their plain names: no separators, no "..", no streams.
// The error is fs.ErrNotExist if there is no such file.
type Folder interface {
	Open(ctx context.Context, name string) (File, error)
}

// FolderOf makes a Folder of a function that opens files of its own type, such
// as the Open method of a store.
func FolderOf[F File](open func(ctx context.Context, name string) (F, error)) Folder {
	return folderFunc(func(ctx context.Context, name string) (File, error) {
		f, err := open(ctx, name)
		if err != nil {
			return nil, err
		}
		return f, nil
	})
}

type folderFunc func(ctx context.Context, name string) (File, error)

func (open folderFunc) Open(ctx context.Context, name string) (File, error) { return open(ctx, name) }
