package blockdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"imageport/engine/blockdev/uevent"
)

var (
	// ErrNotFound says that no disk fits, and which ones are there.
	ErrNotFound = errors.New("blockdev: no such disk")
	// ErrAmbiguous says that more than one disk fits.
	ErrAmbiguous = errors.New("blockdev: more than one such disk")
)

// look is how often Wait looks without having been told of an event. A serial
// number may appear later than its disk.
const look = time.Second

// Find finds the one disk that is meant among those that are there.
func (m Machine) Find(s Selector) (Disk, error) {
	disks, err := m.Disks()
	if err != nil {
		return Disk{}, err
	}
	var found []Disk
	for _, d := range disks {
		if s.fits(d) {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Disk{}, fmt.Errorf("%w: %s; there are %s", ErrNotFound, s, list(disks))
	}
	return Disk{}, fmt.Errorf("%w: %s fits %s", ErrAmbiguous, s, list(found))
}

// Wait is Find, but waits for the disk until ctx ends. Its error is then that
// of the last Find, and the context's. For a disk meant by its LUN it has the
// kernel look for that from time to time.
func (m Machine) Wait(ctx context.Context, s Selector) (Disk, error) {
	// The events end with this call; what came before them is found by looking.
	// Where there are none to be had, looking has to do.
	listening, stop := context.WithCancel(ctx)
	defer stop()
	events, err := uevent.Listen(listening)
	if err != nil {
		events = nil
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		d, err := m.Find(s)
		if !errors.Is(err, ErrNotFound) {
			return d, err
		}
		m.probe(s)
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return Disk{}, fmt.Errorf("%w: %w", err, context.Cause(ctx))
			case <-tick.C:
				again = true
			case e, ok := <-events:
				if !ok {
					events = nil
				}
				again = e.Subsystem == "block" || e.Action == uevent.Lost
			}
		}
	}
}

// probe has the kernel look on all SCSI hosts for a unit with the number that is
// meant: where no unit is number 0, Linux may not look for others by itself, as
// on Azure when a VM has no data disk at LUN 0. What cannot be asked, is not.
func (m Machine) probe(s Selector) {
	if s.kind != byLUN {
		return
	}
	hosts, err := filepath.Glob(filepath.Join(m.Sys, "class/scsi_host/host*/scan"))
	if err != nil {
		return
	}
	for _, scan := range hosts {
		if f, err := os.OpenFile(scan, os.O_WRONLY, 0); err == nil {
			_, _ = fmt.Fprintf(f, "- - %d", s.number) // channel, target and unit; "-" is any
			_ = f.Close()
		}
	}
}

func list(disks []Disk) string {
	if len(disks) == 0 {
		return "none"
	}
	names := make([]string, len(disks))
	for i, d := range disks {
		names[i] = d.String()
	}
	return strings.Join(names, ", ")
}
