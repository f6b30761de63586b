package outputdir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/cedir"
)

// recordFile is the []Disk of a CE, in its directory.
const recordFile = "disks.json"

// Disks are the output disks of one platform. Its methods may be called at the
// same time; those that change a CE hold the CE's directory.
type Disks struct {
	// Platform is the platform's name, for messages.
	Platform string
	// Store has the CEs, and is told the steps.
	Store *cedir.Store
	// Dir is where output disks go, an absolute path. Without, there are none.
	Dir string
	// Formats are those that the platform has, the one to recommend first.
	Formats []platforms.DiskFormat
	// Rand gives serial numbers, by default those of crypto/rand.
	Rand io.Reader

	// Make makes the file Partial of an empty disk that is not raw, in a folder
	// that is there and is its own.
	Make func(ctx context.Context, disk Disk) error
	// Verify refuses a disk that is not raw and whose file is not whole.
	Verify func(ctx context.Context, disk Disk) error
	// Attach gives the disk to the running CE in dir, if it has not got it.
	Attach func(ctx context.Context, dir string, disk Disk) error
	// Detach takes the disk from the CE in dir, which may run, if it has it.
	// What the CE has written to it before is in the file afterwards.
	Detach func(ctx context.Context, dir string, disk Disk) error
}

// CheckDir refuses a directory that output disks cannot be made in. To have
// none is a success.
func (d *Disks) CheckDir() error {
	if d.Dir == "" {
		return nil
	}
	st, err := os.Stat(d.Dir)
	if err == nil && !st.IsDir() {
		err = platforms.Errorf(platforms.BadRequest, "%s is no directory", d.Dir)
	}
	if err == nil {
		err = cedir.Writable(d.Dir)
	}
	if err != nil {
		return fmt.Errorf("the directory of output disks: %w", err)
	}
	return nil
}

// CheckOutputDisk does what platforms.OutputDisks asks for.
func (d *Disks) CheckOutputDisk(ctx context.Context, disk platforms.OutputDisk) error {
	o, err := d.describe("", disk)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = d.CheckDir()
	}
	if err == nil {
		_, err = d.mayBecome(o)
	}
	return cedir.Fail("check", "output disk", err)
}

// AddOutputDisk does what platforms.OutputDisks asks for.
func (d *Disks) AddOutputDisk(ctx context.Context, ce string, disk platforms.OutputDisk) (platforms.OutputDiskRef, error) {
	o, err := d.add(ctx, ce, disk)
	if err != nil {
		return platforms.OutputDiskRef{}, cedir.Fail("add output disk", ce, err)
	}
	return platforms.OutputDiskRef{Selector: platforms.BySerial(o.Serial), Ref: o.Partial}, nil
}

func (d *Disks) add(ctx context.Context, ce string, disk platforms.OutputDisk) (Disk, error) {
	want, err := d.describe(ce, disk)
	if err != nil {
		return want, err
	}
	dir, release, err := d.Store.Hold(ctx, ce)
	if err != nil {
		return want, err
	}
	defer release()
	if p, err := cedir.Recorded(dir); err != nil {
		return want, err
	} else if !p.Alive() {
		return want, platforms.Errorf(platforms.Busy, "the CE does not run")
	}
	disks, err := recorded(dir)
	if err != nil {
		return want, err
	}
	i := slices.IndexFunc(disks, func(o Disk) bool { return o.Name == want.Name })
	switch {
	case i < 0 && len(disks) == maxDisks:
		return want, platforms.Errorf(platforms.BadRequest, "output disk %q: the CE has %d already", want.Name, maxDisks)
	case i < 0:
		if want.Folders, err = d.mayBecome(want); err != nil {
			return want, err
		}
		if want.Serial, err = d.newSerial(); err != nil {
			return want, err
		}
		i, disks = len(disks), append(disks, want)
		if err := d.record(dir, disks); err != nil {
			return want, err
		}
	case disks[i].OutputDisk != want.OutputDisk:
		has := disks[i]
		return want, platforms.Errorf(platforms.BadRequest, "output disk %q: the CE has one of %d bytes as %s, %s, want %d bytes as %s, %s",
			want.Name, has.SizeBytes, has.Format, has.Provision, want.SizeBytes, want.Format, want.Provision)
	case disks[i].Keeping != nil:
		return want, platforms.Errorf(platforms.BadRequest, "output disk %q: it was kept already", want.Name)
	}
	o := &disks[i]
	if !o.Made {
		if err := d.make(ctx, *o); err != nil {
			return want, err
		}
		o.Made = true
		if err := d.record(dir, disks); err != nil {
			return want, err
		}
	}
	if _, err := os.Lstat(o.Partial); err != nil {
		return want, fmt.Errorf("output disk %q: its file: %w", want.Name, err)
	}
	return *o, d.Attach(ctx, dir, *o)
}

// CheckName refuses a name that no output disk of the platform can have.
func (d *Disks) CheckName(name string) error {
	_, err := d.describe("", platforms.OutputDisk{Name: name, SizeBytes: mib})
	return err
}

// Find gives the disk of the CE in dir that has that name and was not kept. If
// there is none, the kind of the error is NotFound.
func (d *Disks) Find(dir, name string) (Disk, error) {
	disks, err := recorded(dir)
	if err != nil {
		return Disk{}, err
	}
	i := slices.IndexFunc(disks, func(o Disk) bool { return o.Name == name && o.Made && o.Keeping == nil })
	if i < 0 {
		return Disk{}, platforms.Errorf(platforms.NotFound, "the CE has no output disk %q", name)
	}
	return disks[i], nil
}

// WorkingDisk gives the disk that the CE's guest is to start from, as
// platforms.Guests asks for.
func WorkingDisk(ce string) platforms.OutputDisk {
	return platforms.OutputDisk{Name: ce + "-work.raw", Format: platforms.Raw}
}

// newSerial gives the serial number of a disk that is to be made. It is no
// function of the disk's name: a CE that is made anew under the name of an
// earlier one must not take its own disk for that one's.
func (d *Disks) newSerial() (string, error) {
	b := make([]byte, serialBytes)
	from := d.Rand
	if from == nil {
		from = rand.Reader
	}
	if _, err := io.ReadFull(from, b); err != nil {
		return "", fmt.Errorf("serial number: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// make makes the file of an empty disk, on stable storage, also in place of one
// that an earlier try left half made.
func (d *Disks) make(ctx context.Context, o Disk) error {
	folder := filepath.Dir(o.Partial)
	if err := makeFolders(folder, o.Folders); err != nil {
		return err
	}
	d.Store.Step("made the disk's folder")
	if err := os.RemoveAll(o.Partial); err != nil {
		return err
	}
	make := d.Make
	if o.Format == platforms.Raw {
		make = makeRaw
	}
	if err := make(ctx, o); err != nil {
		return err
	}
	d.Store.Step("made the disk")
	for _, made := range append([]string{o.Partial, folder, filepath.Dir(folder)}, parents(o.Folders)...) {
		if err := cedir.Sync(made); err != nil {
			return err
		}
	}
	return nil
}

// parents gives the directories that have the names of these.
func parents(folders []string) []string {
	var above []string
	for _, f := range folders {
		above = append(above, filepath.Dir(f))
	}
	return above
}

// makeFolders makes the folder of a disk that is not complete, and those around
// it that are not there, which are for everybody whom the umask lets in.
func makeFolders(folder string, around []string) error {
	for try := 0; ; try++ {
		err := makeEach(around, 0o777)
		if err == nil {
			err = makeEach([]string{folder}, 0o700)
		}
		// Somebody else's disk may have been dropped, and its folders with it,
		// just when this one was to go there.
		if !errors.Is(err, fs.ErrNotExist) || try == 3 {
			return err
		}
	}
}

func makeEach(folders []string, mode fs.FileMode) error {
	for _, f := range folders {
		if err := os.Mkdir(f, mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// makeRaw makes the file of an empty raw disk.
func makeRaw(_ context.Context, o Disk) error {
	f, err := os.OpenFile(o.Partial, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if o.Provision != job.ProvisionThick {
		return f.Truncate(o.SizeBytes)
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, o.SizeBytes)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return platforms.Errorf(platforms.BadRequest, "output disk %q: the file system of %s cannot allocate room in advance: want provision type %s",
			o.Name, filepath.Dir(o.Target), job.ProvisionThin)
	}
	if err != nil {
		return &fs.PathError{Op: "allocate", Path: o.Partial, Err: err}
	}
	return nil
}

func recorded(dir string) ([]Disk, error) {
	var disks []Disk
	_, err := cedir.ReadJSON(filepath.Join(dir, recordFile), &disks)
	return disks, err
}

func (d *Disks) record(dir string, disks []Disk) error {
	err := cedir.ReplaceDurable(filepath.Join(dir, recordFile), disks)
	d.Store.Step("wrote " + recordFile)
	return err
}
