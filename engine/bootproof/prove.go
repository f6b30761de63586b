package bootproof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"imageport/engine/disk"
	"imageport/engine/fusefile"
	"imageport/job"
)

// Range is a stretch of the disk, in bytes.
type Range struct{ Offset, Length int64 }

func (r Range) end() int64 { return r.Offset + r.Length }

// Options say how to boot, and what to look for. The zero value boots, and
// tells of the boot manager only.
type Options struct {
	// Dir is an existing directory for the mount point of the disk and, while
	// QEMU starts, temporary files; empty is the system's. QEMU writes what the
	// machine changes to an unlinked file there, of at most about 1 GiB.
	Dir string
	// WindowsRange is the partition of Windows. If its length is not 0, what
	// the boot manager reads from it is counted.
	WindowsRange Range
	// Loader is where the Windows loader, \Windows\System32\winload.efi, lies
	// on the disk, at most 64 MiB: it counts as read when all of it was.
	Loader []Range
	// Marker ends the boot when it matches a line on the serial console.
	Marker *regexp.Regexp
	// Timeout is for the boot as a whole; 0 is two minutes.
	Timeout time.Duration
	// Quiet is for how long the screen, the console and the disk must be still
	// after Windows' partition was read, or after the boot manager was started
	// if WindowsRange is not given, to end the boot. 0 is ten seconds.
	Quiet time.Duration
}

const (
	defaultTimeout = 2 * time.Minute
	defaultQuiet   = 10 * time.Second
	maxLoader      = 64 << 20 // bytes
)

// Prove boots d until there is nothing more to see: the marker, stillness, a
// machine that switches itself off or resets, or the end of the time. The proof
// has what was seen until then, also beside an error.
//
// Firmware that does not start the disk's boot manager, and a boot manager that
// gives up, are a job.Error with the code BOOT_FAILED; a QEMU that does not work
// TOOL_FAILED; one that is not there TOOL_MISSING. An error of d is wrapped, and
// the end of ctx gives its cause.
func Prove(ctx context.Context, d disk.Disk, opt Options) (job.BootProof, error) {
	opt, err := opt.complete(d)
	if err != nil {
		return job.BootProof{}, err
	}
	found, err := find()
	if err != nil {
		return job.BootProof{}, err
	}
	if kvmOpens() {
		proof, err := attempt(ctx, d, opt, found, kvm)
		if !errors.Is(err, errAccelerator) {
			return proof, err
		}
	}
	return attempt(ctx, d, opt, found, tcg)
}

// complete fills in what is left out, and checks the rest.
func (o Options) complete(d disk.Disk) (Options, error) {
	if o.Dir == "" {
		o.Dir = os.TempDir()
	}
	// QEMU works in another directory.
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("boot proof: %w", err)
	}
	o.Dir = dir
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Quiet <= 0 {
		o.Quiet = defaultQuiet
	}
	if s := d.SectorSize(); s != 512 && s != 4096 {
		return o, fmt.Errorf("boot proof: disk with sectors of %d bytes, want 512 or 4096", s)
	}
	var loader int64
	for _, r := range append([]Range{o.WindowsRange}, o.Loader...) {
		if r.Offset < 0 || r.Length < 0 || r.Length > d.Size()-r.Offset {
			return o, fmt.Errorf("boot proof: range of %d bytes at %d, on a disk of %d", r.Length, r.Offset, d.Size())
		}
	}
	for _, r := range o.Loader {
		// Compared one by one, so that the sum cannot overflow.
		if r.Length > maxLoader || loader+r.Length > maxLoader {
			return o, fmt.Errorf("boot proof: Windows loader of more than %d bytes", maxLoader)
		}
		loader += r.Length
	}
	return o, nil
}

// attempt is one boot. errAccelerator says that it says nothing of the disk.
func attempt(ctx context.Context, d disk.Disk, opt Options, found tools, accel accelerator) (job.BootProof, error) {
	if ctx.Err() != nil {
		return job.BootProof{}, context.Cause(ctx)
	}
	reads := newReads(d, opt.WindowsRange, opt.Loader)
	file, err := fusefile.MountReadOnly(ctx, opt.Dir, "disk", reads, d.Size())
	switch {
	case err != nil && ctx.Err() != nil:
		return job.BootProof{}, context.Cause(ctx)
	case err != nil:
		return job.BootProof{}, job.Errorf(job.ToolFailed, mountRemedy, "boot proof: the disk cannot be shown to QEMU: %w", err)
	}
	proof, err := watch(ctx, opt, found, accel, hardware{file: file.Path(), sectorSize: d.SectorSize()}, reads)
	closed := file.Close() // after QEMU has ended
	switch {
	case ctx.Err() != nil:
		return proof, context.Cause(ctx)
	case closed != nil:
		// Whatever else went wrong, went wrong because of it.
		return proof, fmt.Errorf("boot proof: the disk under QEMU: %w", closed)
	}
	return proof, err
}
