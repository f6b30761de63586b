package catalogue

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"

	"imageport/engine/share"
	"imageport/job"
)

// previousName is the catalogue as it was before the last Add. It stands in for
// the moment in which Add puts the new one into its place.
const previousName = FileName + ".previous"

// Dial opens a folder below the catalogue's: "" is that itself, others are
// '/'-separated.
type Dial func(ctx context.Context, folder string) (share.Store, error)

// Load reads the catalogue in a folder. The errors are those of the share, and
// job.CatalogueInvalid, with fs.ErrNotExist if there is none.
func Load(ctx context.Context, folder share.Store) (*Catalogue, error) {
	text, err := read(ctx, folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, job.Errorf(job.CatalogueInvalid, `Give the folder that has it, or make one with "imageport catalogue add"`,
			"the folder of the catalogue has no %s: %w", FileName, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// read reads the text of the catalogue. The error is fs.ErrNotExist where there
// is none.
func read(ctx context.Context, folder share.Store) ([]byte, error) {
	var err error
	// The third try is for an Add that has just ended when the second was made.
	for _, name := range []string{FileName, previousName, FileName} {
		var text []byte
		if text, err = readFile(ctx, folder, name); !errors.Is(err, fs.ErrNotExist) {
			return text, err
		}
	}
	return nil, err
}

func readFile(ctx context.Context, folder share.Store, name string) ([]byte, error) {
	f, err := folder.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size() > maxBytes {
		return nil, job.Errorf(job.CatalogueInvalid, remedyParse, "%s has %d bytes, more than %d", name, f.Size(), maxBytes)
	}
	text := make([]byte, f.Size())
	n, err := f.ReadAt(text, 0)
	switch {
	case n == len(text):
		return text, nil
	case err == nil, err == io.EOF:
		return nil, job.Errorf(job.ShareIO, "Try again when nobody writes it", "%s had %d bytes, and has %d now", name, len(text), n)
	}
	return nil, job.At(name, err)
}

// OpenFile opens a file of the catalogue by its path, such as File.Path. Closing
// it leaves the share.
func OpenFile(ctx context.Context, dial Dial, file string) (share.File, error) {
	folder, name := splitPath(file)
	store, err := dial(ctx, folder)
	if err != nil {
		return nil, err
	}
	f, err := store.Open(ctx, name)
	if err != nil {
		_ = store.Close() // err says more
		return nil, err
	}
	return closing{f, store}, nil
}

// splitPath gives the folder of a path, "" for the catalogue's own, and the name.
func splitPath(file string) (folder, name string) {
	if folder = path.Dir(file); folder == "." {
		folder = ""
	}
	return folder, path.Base(file)
}

// closing is a file whose folder is closed with it.
type closing struct {
	share.File
	folder io.Closer
}

func (c closing) Close() error { return errors.Join(c.File.Close(), c.folder.Close()) }
