package share

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
)

func (s *smbStore) Rename(ctx context.Context, from, to string) error {
	if err := cmp.Or(checkName(from), checkName(to)); err != nil {
		return err
	}
	rename := func(ses *session) error { return ses.tree.Rename(s.loc.path(from), s.loc.path(to)) }
	op := fmt.Sprintf("rename to %q", to)
	if s.renameLogon == nil {
		return s.renamed(s.do(ctx, false, op, from, rename), from, to)
	}
	return s.renamed(s.persist(ctx, func() (outcome, error) {
		ses, err := s.connect(ctx, s.renameLogon)
		if err != nil {
			return away(err), err
		}
		defer ses.kill(errClosed)
		if err := ses.call(ctx, s.opt.StallTimeout, rename); err != nil {
			return settled, s.fault(ctx, ses.link, op, from, err)
		}
		return settled, nil
	}), from, to)
}

// renamed names the right file when the target was in the way.
func (s *smbStore) renamed(err error, from, to string) error {
	if errors.Is(err, fs.ErrExist) {
		return existsError(s.loc.file(to), "rename "+from)
	}
	return err
}

func (s *smbStore) Remove(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return s.do(ctx, false, "remove", name, func(ses *session) error {
		// The libraries' Remove takes an empty folder as well.
		info, err := ses.tree.Stat(s.loc.path(name))
		switch {
		case err != nil:
			return err
		case info.IsDir():
			return errIsFolder
		}
		return ses.tree.Remove(s.loc.path(name))
	})
}

func (s *smbStore) Stat(ctx context.Context, name string) (Info, error) {
	if err := checkName(name); err != nil {
		return Info{}, err
	}
	var info fs.FileInfo
	err := s.do(ctx, true, "stat", name, func(ses *session) (err error) {
		info, err = ses.tree.Stat(s.loc.path(name))
		return err
	})
	if err != nil {
		return Info{}, err
	}
	if info.IsDir() {
		return Info{}, inTheWayError(s.loc.file(name), "a folder")
	}
	return Info{Name: name, Size: info.Size(), ModTime: info.ModTime()}, nil
}

func (s *smbStore) List(ctx context.Context) ([]Info, error) {
	var entries []fs.FileInfo
	err := s.do(ctx, true, "list", "", func(ses *session) (err error) {
		entries, err = ses.tree.ReadDir(s.loc.folder())
		return err
	})
	if err != nil {
		return nil, err
	}
	infos := make([]Info, 0, len(entries))
	for _, e := range entries {
		if !e.IsDir() {
			infos = append(infos, Info{Name: e.Name(), Size: e.Size(), ModTime: e.ModTime()})
		}
	}
	slices.SortFunc(infos, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	return infos, nil
}

func (s *smbStore) Writable(ctx context.Context) error {
	return s.do(ctx, true, "open for writing", "", func(ses *session) error {
		// A folder that is opened for writing is opened for adding files to it
		// ([MS-SMB2] 2.2.13.1.2).
		f, err := ses.tree.openFile(s.loc.folder(), os.O_WRONLY)
		if err != nil {
			return err
		}
		return f.Close()
	})
}

func (s *smbStore) Free(ctx context.Context) (int64, error) {
	var bytes int64
	err := s.do(ctx, true, "ask for the free space", "", func(ses *session) (err error) {
		bytes, err = ses.tree.free(s.loc.folder())
		return err
	})
	return bytes, err
}

// volumeBytes multiplies what a server reports without overflowing.
func volumeBytes(units, unitBytes uint64) int64 {
	if unitBytes != 0 && units > math.MaxInt64/unitBytes {
		return math.MaxInt64
	}
	return int64(units * unitBytes)
}
