package export

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// Options are what goes into a file besides the UKI.
type Options struct {
	// Name is what the appliance is called inside files: in the OVA, that of
	// the VM and the beginning of the names of its files; "imageport-ce" if
	// empty. Letters, digits and ". _ -", at most 64.
	Name string
	// Version is the product's, for people who look at an OVA or CD-ROM. It may
	// be empty.
	Version string
	// Time is when all of it was made, from 2000 to 2099, in whole seconds. The
	// zero Time is the beginning of 2000.
	Time time.Time
	// BIOS, if not nil, makes the disk start on BIOS machines, too. It is not
	// asked for an ISO.
	BIOS BIOSLoader
	// Progress, if not nil, is told how much of the disk is written, in bytes.
	Progress func(done, total int64)
}

// Info is what Write made.
type Info struct {
	Format    Format
	SizeBytes int64 // of the file
	SHA256    [sha256.Size]byte
	// Layout is that of the disk inside: zero for an ISO.
	Layout Layout
}

const defaultName = "imageport-ce"

var (
	validName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	validVersion = regexp.MustCompile(`^[ -~]{0,64}$`) // printable ASCII
)

// complete fills in what is missing and checks the rest.
func (opt Options) complete() (Options, error) {
	if opt.Name == "" {
		opt.Name = defaultName
	}
	if !validName.MatchString(opt.Name) {
		return opt, fmt.Errorf("export: name %q, expected at most 64 letters, digits and . _ -: %w", opt.Name, ErrOptions)
	}
	if !validVersion.MatchString(opt.Version) {
		return opt, fmt.Errorf("export: version %q, expected at most 64 printable characters: %w", opt.Version, ErrOptions)
	}
	if opt.Time.IsZero() {
		opt.Time = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	opt.Time = opt.Time.UTC().Truncate(time.Second)
	// VHD counts from 2000, FAT to 2107.
	if year := opt.Time.Year(); year < 2000 || year > 2099 {
		return opt, fmt.Errorf("export: time %v, expected a year from 2000 to 2099: %w", opt.Time, ErrOptions)
	}
	return opt, nil
}

// Write writes a file of the format to w, front to back. Its errors are
// ErrFormat, ErrOptions and ErrUKI before anything is written, and those of
// the context, the UKI's reader, the BIOS loader and w.
func Write(ctx context.Context, w io.Writer, format Format, uki *UKI, opt Options) (Info, error) {
	maker, ok := format.maker()
	if !ok {
		return Info{}, fmt.Errorf("export: %q is none of %v: %w", format, Formats(), ErrFormat)
	}
	opt, err := opt.complete()
	if err != nil {
		return Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return Info{}, err
	}
	sum := &checksummed{w: w, hash: sha256.New()}
	l, err := maker.write(&meter{ctx: ctx, report: opt.Progress}, sum, uki, opt)
	if err != nil {
		return Info{}, err
	}
	return Info{Format: format, SizeBytes: sum.n, SHA256: [sha256.Size]byte(sum.hash.Sum(nil)), Layout: l}, nil
}

// WriteFile is Write into the file at path, which appears, or is replaced, when
// it is complete and on stable storage. A failure leaves what was there.
func WriteFile(ctx context.Context, path string, format Format, uki *UKI, opt Options) (info Info, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.partial")
	if err != nil {
		return Info{}, fmt.Errorf("export: %w", err)
	}
	closed := false
	defer func() {
		if err == nil {
			return
		}
		if !closed {
			err = errors.Join(err, f.Close())
		}
		err = errors.Join(err, os.Remove(f.Name()))
	}()
	if info, err = Write(ctx, f, format, uki, opt); err != nil {
		return Info{}, err
	}
	// There is nothing secret in an appliance, and servers of other users hand
	// it out.
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return Info{}, fmt.Errorf("export: %w", err)
	}
	closed = true
	if err := f.Close(); err != nil {
		return Info{}, fmt.Errorf("export: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return Info{}, fmt.Errorf("export: %w", err)
	}
	return info, nil
}

// checksummed counts and hashes what goes to w.
type checksummed struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (c *checksummed) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.hash.Write(p[:n])
	return n, err
}
