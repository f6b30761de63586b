package inject

import (
	"context"
	"errors"
	"io"
	"os"

	"imageport/engine/disk/overlay"
	"imageport/engine/ntfsmount"
	"imageport/engine/windows/ntfs"
	"imageport/engine/windows/offline"
	"imageport/firstboot/plan"
	"imageport/job"
)

// pageFiles are what Windows keeps for a run of it only. That of a hibernation is
// none of them: its loss could be that of data.
var pageFiles = []string{`\pagefile.sys`, `\swapfile.sys`}

// Clean takes back what Inject has done, whatever Windows has made of it since,
// and removes page files. Hives that Windows has not written to the end are
// completed with their logs. It gives what it has changed: nothing on a disk that
// is clean, to which it then writes nothing. The Windows must have been shut down.
// The error is a job.Error as those of Inject.
func Clean(ctx context.Context, disk Disk, p Partition, undo Undo, report func(job.Progress)) ([]job.FixUp, error) {
	d := target{disk}
	if err := d.inside(p); err != nil {
		return nil, err
	}
	report(job.Progress{Step: "clean"})
	if err := redo(d, p); err != nil {
		return nil, err
	}
	w, err := openWindows(d, p)
	if err != nil {
		return nil, err
	}
	c := &cleaning{Volume: w.Volume}
	if err := firstError(
		func() error { return c.planSystem(w, undo) },
		c.planSoftware,
		func() error { return c.planFiles(undo) },
	); err != nil {
		return nil, err
	}
	if len(c.hives) == 0 && len(c.trees) == 0 && c.parent == "" {
		return c.fixUps, ctx.Err()
	}
	changed := overlay.New(sectors{d})
	if err := mounted(ctx, changed, p, c.do); err != nil {
		return nil, err
	}
	if err := commit(d, changed); err != nil {
		return nil, err
	}
	if err := settled(d, p, c.check); err != nil {
		return nil, err
	}
	return c.fixUps, nil
}

// cleaning is what there is to do.
type cleaning struct {
	*offline.Volume
	hives []newHive
	// trees are files and directories to be removed, and parent is a directory
	// that goes if it is empty then; below the root of the volume.
	trees  []string
	parent string
	fixUps []job.FixUp
}

func (c *cleaning) planSystem(w *offline.Windows, undo Undo) error {
	r, err := newRegistry(w)
	if err != nil {
		return err
	}
	if err := r.disarm(undo); err != nil {
		return err
	}
	if r.System.Entries > 0 {
		c.fixUps = append(c.fixUps, completed(r.System, offline.PathSystem))
	}
	c.fixUps = append(c.fixUps, r.fixUps...)
	if len(c.fixUps) == 0 {
		return nil
	}
	n, err := sealed(c.Volume, offline.PathSystem, r.System)
	c.hives = append(c.hives, n)
	return err
}

// planSoftware completes the hive in which an installer leaves most.
func (c *cleaning) planSoftware() error {
	h, err := c.OpenHive(offline.PathSoftware)
	if errors.Is(err, ntfs.ErrNotFound) {
		return nil
	}
	if err != nil || h.Entries == 0 {
		return err
	}
	n, err := sealed(c.Volume, offline.PathSoftware, h)
	c.hives = append(c.hives, n)
	c.fixUps = append(c.fixUps, completed(h, offline.PathSoftware))
	return err
}

func (c *cleaning) planFiles(undo Undo) error {
	for _, f := range []struct{ path, why string }{{folder, whyBack}, {pageFiles[0], whyPages}, {pageFiles[1], whyPages}} {
		e, err := c.NTFS.Stat(f.path)
		if errors.Is(err, ntfs.ErrNotFound) {
			continue
		}
		if err != nil {
			return c.Fault(err)
		}
		name, _, err := onVolume(c.Volume, f.path)
		if err != nil {
			return err
		}
		what := "file"
		if e.IsDir {
			what = "folder"
		}
		c.trees = append(c.trees, name)
		c.fixUps = append(c.fixUps, job.FixUp{What: "C:" + f.path, Old: what, Why: f.why})
	}
	if !undo.MadeParent {
		return nil
	}
	name, there, err := onVolume(c.Volume, parent)
	if err != nil || !there {
		return err
	}
	list, err := c.NTFS.ReadDir(parent)
	if err != nil {
		return c.Fault(err)
	}
	// There is nothing but our folder in it.
	if len(list) == 0 || len(list) == 1 && len(c.trees) > 0 && c.fixUps[len(c.fixUps)-len(c.trees)].What == plan.Folder {
		c.parent = name
	}
	return nil
}

// do does it: the hives first, so that nothing starts a runner that is not there.
func (c *cleaning) do(m *ntfsmount.Mounted) error {
	for _, h := range c.hives {
		if err := h.write(m); err != nil {
			return err
		}
	}
	return m.Do(func(root *os.Root) error {
		for _, tree := range c.trees {
			if err := root.RemoveAll(tree); err != nil {
				return err
			}
		}
		if c.parent != "" {
			return root.Remove(c.parent)
		}
		return nil
	})
}

// check looks at the volume anew.
func (c *cleaning) check(v *offline.Volume) error {
	for _, h := range c.hives {
		if err := h.check(v); err != nil {
			return err
		}
	}
	left, err := volumeTraces(v)
	if err != nil {
		return err
	}
	for _, path := range append(left, pageFiles...) {
		if _, err := v.NTFS.Stat(offlinePath(path)); err == nil {
			return verifyFailed("%s is still there", path)
		} else if !errors.Is(err, ntfs.ErrNotFound) {
			return v.Fault(err)
		}
	}
	return nil
}

// Traces lists what of ours is still in a Windows: the folder, and the service in
// any control set. AutoReboot tells nothing: its owner may want it like that. The
// error is a job.Error, or one of the disk.
func Traces(ctx context.Context, d io.ReaderAt, p Partition) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	w, err := openWindows(d, p)
	if err != nil {
		return nil, err
	}
	return tracesOf(&registry{Windows: w})
}

// Unused refuses, with job.LeftoverRunner, a Windows that has Traces: Inject would.
func Unused(ctx context.Context, d io.ReaderAt, p Partition) error {
	traces, err := Traces(ctx, d, p)
	if err != nil {
		return err
	}
	return leftover(p, traces)
}

func tracesOf(r *registry) ([]string, error) {
	list, err := volumeTraces(r.Volume)
	if err != nil {
		return nil, err
	}
	keys, err := r.traces()
	return append(list, keys...), err
}

func volumeTraces(v *offline.Volume) ([]string, error) {
	_, err := v.NTFS.Stat(folder)
	switch {
	case errors.Is(err, ntfs.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, v.Fault(err)
	}
	return []string{plan.Folder}, nil
}
