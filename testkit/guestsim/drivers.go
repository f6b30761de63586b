package guestsim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// drivers is the folder of drivers, which Wine's own and those of the disk share:
// the disk's are copied in and out.
type drivers struct {
	disk, inside string
	own          map[string]bool // Wine's, by lower-case name
	copied       map[string]fs.FileInfo
}

func importDrivers(root string) (*drivers, error) {
	d := &drivers{inside: filepath.Join(system32, "drivers"), own: map[string]bool{}, copied: map[string]fs.FileInfo{}}
	var err error
	if d.disk, err = findOrMake(root, "Windows", "System32", "drivers"); err != nil {
		return nil, err
	}
	if err := eachFile(d.inside, func(name string, _ fs.FileInfo) error {
		d.own[strings.ToLower(name)] = true
		return nil
	}); err != nil {
		return nil, err
	}
	return d, eachFile(d.disk, func(name string, _ fs.FileInfo) error {
		if d.own[strings.ToLower(name)] {
			return nil
		}
		if err := copyFile(filepath.Join(d.inside, name), filepath.Join(d.disk, name)); err != nil {
			return err
		}
		info, err := os.Stat(filepath.Join(d.inside, name))
		d.copied[name] = info
		return err
	})
}

// export brings the disk's folder up to date.
func (d *drivers) export() error {
	gone := map[string]bool{}
	for name := range d.copied {
		gone[name] = true
	}
	if err := eachFile(d.inside, func(name string, info fs.FileInfo) error {
		delete(gone, name)
		before, copied := d.copied[name]
		if d.own[strings.ToLower(name)] || copied && os.SameFile(before, info) && before.ModTime().Equal(info.ModTime()) && before.Size() == info.Size() {
			return nil
		}
		return copyFile(filepath.Join(d.disk, name), filepath.Join(d.inside, name))
	}); err != nil {
		return err
	}
	for name := range gone {
		if err := os.Remove(filepath.Join(d.disk, name)); err != nil {
			return fmt.Errorf("guestsim: %w", err)
		}
	}
	return nil
}

func eachFile(dir string, do func(name string, info fs.FileInfo) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("guestsim: %w", err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err == nil {
			err = do(e.Name(), info)
		}
		if err != nil {
			return fmt.Errorf("guestsim: %w", err)
		}
	}
	return nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
