package appliancefile

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"imageport/platforms"
)

// Kind is what a platform takes.
type Kind struct {
	// Name is what the file is called, such as "OVA"; Format is what "imageport
	// appliance build --formats" calls it; Section has the key "appliance" in the
	// configuration.
	Name, Format, Section string
}

// File is the appliance's file.
type File[C any] struct {
	kind  Kind
	path  string
	parse func(ctx context.Context, file *os.File, sizeBytes int64) (C, error)

	mu      sync.Mutex
	seen    os.FileInfo // when content was read
	content C
}

// New gives the file at the path, of which parse reads what the driver needs.
func New[C any](kind Kind, path string, parse func(ctx context.Context, file *os.File, sizeBytes int64) (C, error)) *File[C] {
	return &File[C]{kind: kind, path: path, parse: parse}
}

func (f *File[C]) open() (*os.File, os.FileInfo, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, nil, platforms.Errorf(platforms.NotFound, "the appliance's %s: %w; build it (imageport appliance build --formats %s), or correct appliance under [%s]",
			f.kind.Name, err, f.kind.Format, f.kind.Section)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = platforms.Errorf(platforms.BadRequest, "%s is no file, it is %s", f.path, info.Mode().Type())
	}
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("the appliance's %s: %w", f.kind.Name, err)
	}
	return file, info, nil
}

func (f *File[C]) isLast(info os.FileInfo) bool {
	return f.seen != nil && os.SameFile(f.seen, info) && f.seen.Size() == info.Size() && f.seen.ModTime().Equal(info.ModTime())
}

// Read gives what parse made of the file, and reads it if it is not the one that was
// read last. What parse refuses is a bad request.
func (f *File[C]) Read(ctx context.Context) (content C, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, info, err := f.open()
	if err != nil {
		return content, err
	}
	defer file.Close()
	if f.isLast(info) {
		return f.content, nil
	}
	if content, err = f.parse(ctx, file, info.Size()); err != nil {
		if ctx.Err() != nil {
			return content, ctx.Err()
		}
		return content, platforms.Errorf(platforms.BadRequest, "the appliance's %s %s: %w", f.kind.Name, f.path, err)
	}
	f.seen, f.content = info, content
	return content, nil
}

// Open opens the file that was read last. If another one is there now, that is Busy:
// the next attempt reads it.
func (f *File[C]) Open() (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, info, err := f.open()
	if err != nil {
		return nil, err
	}
	if !f.isLast(info) {
		file.Close()
		return nil, platforms.Errorf(platforms.Busy, "the appliance's %s %s was replaced just now", f.kind.Name, f.path)
	}
	return file, nil
}

// Until gives a reader that fails when ctx has ended.
func Until(ctx context.Context, r io.Reader) io.Reader { return &reader{ctx, r} }

type reader struct {
	ctx context.Context
	io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
