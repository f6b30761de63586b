package nativeboot

import (
	"errors"
	"fmt"
	"slices"

	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/engine/windows/offline"
	"imageport/job"
)

// fixWindows has every Windows on the disk find its disk.
func (p *planner) fixWindows() error {
	var found []*offline.Volume
	for _, v := range p.volumes {
		switch {
		case v.HasWindows:
			found = append(found, v)
		case v.Kind == ntfs.BitLocker:
			p.warn("%s is encrypted with BitLocker: what is on it was not looked at, and in another VM it wants its recovery key", v)
		case v.Err != nil:
			p.warn("what is on %s was not looked at: %s", v, v.Err)
		}
	}
	if len(found) == 0 {
		p.warn("no Windows was found on the disk: it is copied as it is")
	}
	for i, v := range found {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		w, err := openWindows(v, p.target.Platform, len(found) == 1)
		if err == nil {
			err = w.fixDrivers()
		}
		if err == nil {
			err = w.fixXen()
		}
		if err == nil {
			err = p.write(w)
		}
		if err != nil {
			return err
		}
		p.FixUps = append(p.FixUps, w.fixUps...)
		p.Warnings = append(p.Warnings, w.warnings...)
		if i == 0 {
			p.Product, p.Build, p.Server, p.Controllers = w.release.Product, w.release.Build, w.release.Server, w.controllers
			continue
		}
		p.agree(v, w.controllers)
	}
	return nil
}

// agree keeps the controllers for which another Windows has a driver, too.
func (p *planner) agree(v *offline.Volume, controllers []job.Controller) {
	both := slices.DeleteFunc(slices.Clone(p.Controllers), func(c job.Controller) bool { return !slices.Contains(controllers, c) })
	if len(both) == 0 && len(controllers) > 0 {
		p.warn("the Windows on %s has no driver for the controllers of the first one (%v), but for others (%v)", v, p.Controllers, controllers)
		return
	}
	p.Controllers = both
}

// write puts the SYSTEM hive into its place, if anything in it was changed.
func (p *planner) write(w *windows) error {
	if len(w.fixUps) == 0 {
		return nil
	}
	after, err := w.changed()
	if err != nil {
		return err
	}
	edits, err := w.System.File.Replace(after)
	if errors.Is(err, ntfs.ErrNotEditable) {
		return job.Errorf(job.FileNotEditableInPlace, "Check that it is not compressed (compact /u), and boot it once in a maintenance version", "%s: %w", w.Volume, err)
	}
	if err != nil {
		return w.Fault(err)
	}
	to := part{p.out, w.Offset, w.Size}
	for _, e := range edits {
		if _, err := to.WriteAt(e.Data, e.Offset); err != nil {
			return err
		}
	}
	return nil
}

// changed gives SYSTEM as it is to be: of the length that it has on the disk, and
// as if written when it was written last, so that a plan made again is the same.
func (w *windows) changed() ([]byte, error) {
	h, stored := w.System, w.System.Stored
	h.Commit(w.System.File.ModTime())
	after := h.Bytes()
	if len(after) > len(stored) {
		return nil, job.Errorf(job.HiveNoSpace, offline.ShutDown, "%s has %d bytes, and with what is in its log needs %d", h.Place, len(stored), len(after))
	}
	after = append(slices.Clone(after), stored[len(after):]...)
	// Damage that was there before may show when cells are freed that something
	// else used, too. Such a hive is better left alone.
	read, err := hive.Parse(after)
	if err == nil {
		_, err = read.Root()
	}
	if err != nil {
		return nil, h.Fault(err)
	}
	if n := w.System.Entries; n > 0 {
		w.fixed(offline.PathSystem, "not written to its end", fmt.Sprintf("completed with %d entries of its log", n), "what Windows still has in the log of its registry belongs to it")
	}
	return after, nil
}
