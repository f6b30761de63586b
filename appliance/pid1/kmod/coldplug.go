package kmod

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"imageport/engine/blockdev/uevent"
)

// maxAlias is above what the kernel makes: a modalias fits into an event.
const maxAlias = 4096

// Devices loads the drivers of a machine's devices. It is safe for concurrent
// use.
type Devices struct {
	Loader  *Loader
	Sys     string // sysfs
	Workers int    // modules that are loaded at once; at least 1
	Log     *slog.Logger

	mu   sync.Mutex
	seen map[string]bool // aliases
}

// Coldplug loads the drivers of all devices that are there, and of those that
// appear by that, until nothing new appears.
func (d *Devices) Coldplug(ctx context.Context) error {
	for {
		aliases, err := d.unseen()
		if err != nil || len(aliases) == 0 {
			return err
		}
		work := make(chan string)
		var workers sync.WaitGroup
		for range max(d.Workers, 1) {
			workers.Go(func() {
				for alias := range work {
					d.load(alias)
				}
			})
		}
		for _, alias := range aliases {
			if ctx.Err() != nil {
				break
			}
			work <- alias
		}
		close(work)
		workers.Wait()
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
	}
}

// Follow loads the drivers of devices that come later, until the events end.
func (d *Devices) Follow(ctx context.Context, events <-chan uevent.Event) {
	for e := range events {
		switch {
		case e.Action == uevent.Lost:
			if err := d.Coldplug(ctx); err != nil && ctx.Err() == nil {
				d.Log.Warn("looking for new devices", "error", err)
			}
		case e.Action == uevent.Add && e.Modalias != "" && d.first(e.Modalias):
			d.load(e.Modalias)
		}
	}
}

// unseen lists the aliases in sysfs that were not there before.
func (d *Devices) unseen() ([]string, error) {
	var aliases []string
	err := filepath.WalkDir(filepath.Join(d.Sys, "devices"), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went while we looked
		}
		if err != nil || entry.Name() != "modalias" || entry.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) > maxAlias {
			return nil
		}
		if alias := strings.TrimSpace(string(b)); alias != "" && d.first(alias) {
			aliases = append(aliases, alias)
		}
		return nil
	})
	return aliases, err
}

// first reports whether an alias is seen for the first time. Many devices have
// the same, and a driver looks for all its devices by itself.
func (d *Devices) first(alias string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen == nil {
		d.seen = map[string]bool{}
	}
	was := d.seen[alias]
	d.seen[alias] = true
	return !was
}

func (d *Devices) load(alias string) {
	switch err := d.Loader.LoadAlias(alias); {
	case err == nil, errors.Is(err, ErrUnknown):
	case Absent(err):
		d.Log.Debug("driver without hardware", "alias", alias, "error", err)
	default:
		d.Log.Warn("driver", "alias", alias, "error", err)
	}
}
