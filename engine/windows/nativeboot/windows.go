package nativeboot

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"imageport/engine/windows/ntfs"
	"imageport/engine/windows/offline"
	"imageport/job"
)

// windows is an installation whose SYSTEM hive is being changed.
type windows struct {
	*offline.Windows
	platform string
	place    string // in front of what is reported, where there are several
	release  offline.Release

	devices     []string // PCI identifiers that it has drivers for
	noDevices   bool     // it does not say
	controllers []job.Controller
	fixUps      []job.FixUp
	warnings    []string
}

// openWindows reads what a volume's Windows is, and its SYSTEM hive.
func openWindows(v *offline.Volume, platform string, alone bool) (*windows, error) {
	opened, err := v.OpenWindows()
	if err != nil {
		return nil, err
	}
	w := &windows{Windows: opened, platform: platform}
	if !alone {
		w.place = v.String() + ": "
	}
	if err := w.identify(); err != nil {
		return nil, err
	}
	if err := w.readDevices(); err != nil {
		return nil, w.System.Fault(err)
	}
	return w, nil
}

func (w *windows) warn(format string, args ...any) {
	w.warnings = append(w.warnings, w.place+fmt.Sprintf(format, args...))
}

// fixed reports a change.
func (w *windows) fixed(what, before, after, why string) {
	w.fixUps = append(w.fixUps, job.FixUp{What: w.place + what, Old: before, New: after, Why: why})
}

// identify reads what SOFTWARE tells of the Windows. Without it, the Windows
// can be fixed up all the same. The errors are those of the disk.
func (w *windows) identify() error {
	software, err := w.OpenHive(offline.PathSoftware)
	if err == nil {
		if w.release, err = software.Release(); err != nil {
			err = software.Fault(err)
		}
	}
	switch {
	case err == nil && w.release.Build == 0:
		w.warn("%s: CurrentBuild is %q, not a number", offline.PathSoftware, w.release.CurrentBuild)
	case err != nil && job.CodeOf(err) == "" && !errors.Is(err, ntfs.ErrNotFound):
		return err
	case err != nil:
		w.warn("what Windows it is cannot be told: %s", err)
	}
	return nil
}

// readDevices reads which PCI devices Windows connects with a driver before it
// has its disk: from Windows 8 on those of its driver database, before that
// those that are critical.
func (w *windows) readDevices() error {
	ids, err := w.System.Names(`DriverDatabase\DeviceIds\PCI`)
	if err != nil {
		return err
	}
	w.devices = ids
	ids, err = w.System.Names(w.Current, `Control\CriticalDeviceDatabase`)
	if err != nil {
		return err
	}
	const bus = "PCI#"
	for _, name := range ids {
		if hasPrefixFold(name, bus) {
			w.devices = append(w.devices, name[len(bus):])
		}
	}
	if w.noDevices = len(w.devices) == 0; w.noDevices {
		w.warn("%s does not say for which devices it has drivers: that those that are there are for this disk was not checked", offline.PathSystem)
	}
	return nil
}

// knows reports whether Windows has a driver for one of the devices, as far as
// it says.
func (w *windows) knows(devices []string) bool {
	return w.noDevices || len(devices) == 0 || slices.ContainsFunc(devices, func(want string) bool {
		return slices.ContainsFunc(w.devices, func(id string) bool {
			return hasPrefixFold(id, want)
		})
	})
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
