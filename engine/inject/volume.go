package inject

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path"
	"strings"

	"imageport/engine/disk"
	"imageport/engine/ntfsmount"
	"imageport/engine/windows/ntfs"
	"imageport/engine/windows/offline"
	"imageport/firstboot/plan"
	"imageport/job"
)

// openVolume opens the volume for reading, in whatever state it is.
func openVolume(d io.ReaderAt, p Partition) (*offline.Volume, error) {
	v := &offline.Volume{Partition: p.offline(), Kind: ntfs.NTFS}
	var err error
	if v.NTFS, err = ntfs.Open(disk.Section(d, p.Offset, p.SizeBytes), p.SizeBytes); err != nil {
		return nil, v.Fault(err)
	}
	return v, nil
}

// openWindows opens the Windows on the volume, which it has to have finished
// with.
func openWindows(d io.ReaderAt, p Partition) (*offline.Windows, error) {
	v, err := openVolume(d, p)
	if err != nil {
		return nil, err
	}
	w, err := v.OpenWindows()
	if errors.Is(err, ntfs.ErrNotFound) {
		return nil, job.Errorf(job.NoWindows, "Check that it is the right image", "%s has no Windows: %w", p.offline(), err)
	}
	return w, err
}

// folder is plan.Folder on its volume, and parent what it is in.
var (
	folder = offlinePath(plan.Folder)
	parent = offlinePath(plan.Folder[:strings.LastIndexByte(plan.Folder, '\\')])
)

// offlinePath is a path of C: without the drive.
func offlinePath(path string) string { return strings.TrimPrefix(path, "C:") }

// onVolume is the name by which ntfs-3g, which minds case, finds what Windows
// finds by path; what is not there keeps the name that it is given. It refuses
// what leads elsewhere: to a program that is not Windows, a link may lead
// anywhere.
func onVolume(v *offline.Volume, windowsPath string) (name string, there bool, err error) {
	so := ""
	there = true
	for _, component := range strings.Split(strings.TrimPrefix(windowsPath, `\`), `\`) {
		so += `\` + component
		if there {
			e, err := v.NTFS.Stat(so)
			switch {
			case errors.Is(err, ntfs.ErrNotFound):
				there = false
			case err != nil:
				return "", false, v.Fault(err)
			case e.ReparseTag != 0:
				return "", false, job.Errorf(job.FileNotEditableInPlace, offline.CheckImage, "%s on %s is a reparse point (tag 0x%08x)", so, v, e.ReparseTag)
			default:
				component = e.Name
			}
		}
		name = path.Join(name, component)
	}
	return name, there, nil
}

// checkFile reads a file back.
func checkFile(v *offline.Volume, path string, want []byte) error {
	f, err := v.NTFS.Open(path)
	if errors.Is(err, ntfs.ErrNotFound) {
		return verifyFailed("%w", err)
	}
	if err != nil {
		return v.Fault(err)
	}
	if f.Size() != int64(len(want)) {
		return verifyFailed("%s has %d bytes, want %d", path, f.Size(), len(want))
	}
	got, err := f.ReadAll(int64(len(want)))
	if err != nil {
		return v.Fault(err)
	}
	if !bytes.Equal(got, want) {
		return verifyFailed("%s is not what was written", path)
	}
	return nil
}

// mounted calls work with the volume mounted for writing.
func mounted(ctx context.Context, d ntfsmount.File, p Partition, work func(m *ntfsmount.Mounted) error) error {
	m, err := ntfsmount.Mount(ctx, ntfsmount.Tool{}, d, p.Offset, p.SizeBytes)
	if err == nil {
		err = work(m)
		// What failed below says more than what met it.
		if closed := m.Close(); closed != nil && job.CodeOf(err) == "" {
			err = closed
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return mountError(p, err)
	}
	return nil
}

// settled calls check with the volume opened anew, once what was changed is on the
// disk.
func settled(d target, p Partition, check func(v *offline.Volume) error) error {
	if err := d.settle(); err != nil {
		return err
	}
	v, err := openVolume(d, p)
	if err != nil {
		return err
	}
	if err := v.Settled(); err != nil {
		return err
	}
	return check(v)
}
