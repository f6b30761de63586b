package guestsim

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// Exit codes of an installer that did it: 0, 3010 and 1641, as far as they reach
// a program of Linux.
var installed = []int{0, 3010 & 0xff, 1641 & 0xff}

// Install runs a silent installer, a file of the host, in the Windows on a disk,
// as an administrator would have done. No service of the disk is started.
func Install(ctx context.Context, disk, installer string) error {
	return withTemplate(ctx, nil, func(s *simulation) error {
		s.disk = disk
		return s.onVolume(ctx, func(v *volume) error {
			from := []bind{{host: filepath.Dir(installer), inside: "/installer"}}
			return s.onMachine(v, from, func(m *machine) error { return s.install(ctx, m, filepath.Base(installer)) })
		})
	})
}

func (s *simulation) install(ctx context.Context, m *machine, installer string) error {
	w, err := loadWindows(volumeInside)
	if err != nil {
		return err
	}
	d, err := assemble(w)
	if err != nil {
		return err
	}
	r, err := importRegistry(w, false, time.Now())
	if err != nil {
		return err
	}
	if code, err := m.run(ctx, m.wine.loader, "wineboot"); err != nil || code != 0 {
		return errors.Join(fmt.Errorf("guestsim: Windows did not start: wineboot: exit code %d", code), err)
	}
	if err := copyFile(filepath.Join(driveC, installer), filepath.Join("/installer", installer)); err != nil {
		return fmt.Errorf("guestsim: %w", err)
	}
	code, err := m.run(ctx, m.wine.loader, `C:\`+installer, "/S")
	if err != nil {
		return err
	}
	if !slices.Contains(installed, code) {
		return fmt.Errorf("guestsim: %s: exit code %d of 256", installer, code)
	}
	if err := m.stopWine(ctx, false); err != nil {
		return err
	}
	return errors.Join(d.export(), r.export(time.Now()))
}
