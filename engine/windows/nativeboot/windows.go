package nativeboot

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// windows is an installation whose SYSTEM hive is being changed.
type windows struct {
	*volume
	system   hiveFile
	platform string
	place    string // in front of what is reported, where there are several
	product  string
	build    int // 0: not known
	server   bool

	sets        []string // its control sets
	current     string   // the one that it starts with
	devices     []string // PCI identifiers that it has drivers for
	noDevices   bool     // it does not say
	controllers []job.Controller
	fixUps      []job.FixUp
	warnings    []string
}

// openWindows reads what a volume's Windows is, and its SYSTEM hive.
func openWindows(v *volume, platform string, alone bool) (*windows, error) {
	if err := v.settled(); err != nil {
		return nil, err
	}
	w := &windows{volume: v, platform: platform}
	if !alone {
		w.place = v.String() + ": "
	}
	var err error
	if w.system, err = v.open(pathSystem); err != nil {
		return nil, err
	}
	if err := w.identify(); err != nil {
		return nil, err
	}
	if err := w.readSets(); err != nil {
		return nil, w.broken(err)
	}
	if err := w.readDevices(); err != nil {
		return nil, w.broken(err)
	}
	return w, nil
}

// broken gives an error of package hive its code; those of the volume and of
// the disk stay as they are.
func (w *windows) broken(err error) error {
	for _, own := range []error{hive.ErrCorrupt, hive.ErrNotFound, hive.ErrNotHive, hive.ErrNoSpace} {
		if errors.Is(err, own) {
			return w.hiveError(pathSystem, err)
		}
	}
	return err
}

func (w *windows) warn(format string, args ...any) {
	w.warnings = append(w.warnings, w.place+fmt.Sprintf(format, args...))
}

// fixed reports a change.
func (w *windows) fixed(what, before, after, why string) {
	w.fixUps = append(w.fixUps, job.FixUp{What: w.place + what, Old: before, New: after, Why: why})
}

func (w *windows) hive() *hive.Hive { return w.system.hive }

// identify reads what SOFTWARE tells of the Windows. Without it, the Windows
// can be fixed up all the same. The errors are those of the disk.
func (w *windows) identify() error {
	f, err := w.volume.open(pathSoftware)
	var key *hive.Key
	if err == nil {
		key, err = f.hive.Lookup("Microsoft", "Windows NT", "CurrentVersion")
		if err != nil {
			err = w.hiveError(pathSoftware, err)
		}
	}
	if err != nil {
		if job.CodeOf(err) == "" && !errors.Is(err, ntfs.ErrNotFound) {
			return err
		}
		w.warn("what Windows it is cannot be told: %s", err)
		return nil
	}
	text := func(name string) string {
		v, _ := key.Value(name)
		return v.String()
	}
	w.product = text("ProductName")
	if w.build, err = strconv.Atoi(text("CurrentBuild")); err != nil || w.build < 0 {
		w.warn("%s: CurrentBuild is %q, not a number", pathSoftware, text("CurrentBuild"))
		w.build = 0
	}
	// Windows 11 still calls itself 10 there.
	if rest, ok := strings.CutPrefix(w.product, "Windows 10"); ok && w.build >= newest {
		w.product = "Windows 11" + rest
	}
	w.server = strings.HasPrefix(text("InstallationType"), "Server")
	return nil
}

// readSets finds the control sets: ControlSet001 and so on, of which one is
// started.
func (w *windows) readSets() error {
	names, err := w.hive().SubkeyNames()
	if err != nil {
		return err
	}
	for _, name := range names {
		if number, ok := cutPrefixFold(name, "ControlSet"); ok && len(number) == 3 && strings.Trim(number, "0123456789") == "" {
			w.sets = append(w.sets, name)
		}
	}
	if len(w.sets) == 0 {
		return fmt.Errorf("%w: control sets", hive.ErrNotFound)
	}
	w.current = w.sets[0]
	selected, err := w.lookup("Select")
	if err != nil || selected == nil {
		return err
	}
	v, _ := selected.Value("Default")
	if n, ok := v.Uint32(); ok {
		for _, set := range w.sets {
			if strings.HasSuffix(set, fmt.Sprintf("%03d", n)) {
				w.current = set
			}
		}
	}
	return nil
}

// readDevices reads which PCI devices Windows connects with a driver before it
// has its disk: from Windows 8 on those of its driver database, before that
// those that are critical.
func (w *windows) readDevices() error {
	ids, err := w.names(`DriverDatabase\DeviceIds\PCI`)
	if err != nil {
		return err
	}
	w.devices = ids
	ids, err = w.names(w.current, `Control\CriticalDeviceDatabase`)
	if err != nil {
		return err
	}
	for _, name := range ids {
		if id, ok := cutPrefixFold(name, "PCI#"); ok {
			w.devices = append(w.devices, id)
		}
	}
	if w.noDevices = len(w.devices) == 0; w.noDevices {
		w.warn("%s does not say for which devices it has drivers: that those that are there are for this disk was not checked", pathSystem)
	}
	return nil
}

// knows reports whether Windows has a driver for one of the devices, as far as
// it says.
func (w *windows) knows(devices []string) bool {
	return w.noDevices || len(devices) == 0 || slices.ContainsFunc(devices, func(want string) bool {
		return slices.ContainsFunc(w.devices, func(id string) bool {
			_, ok := cutPrefixFold(id, want)
			return ok
		})
	})
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// lookup reads a key; nil if there is none.
func (w *windows) lookup(path ...string) (*hive.Key, error) {
	k, err := w.hive().Lookup(path...)
	if errors.Is(err, hive.ErrNotFound) {
		return nil, nil
	}
	return k, err
}

// names lists the subkeys of a key; none if there is no such key.
func (w *windows) names(path ...string) ([]string, error) {
	names, err := w.hive().SubkeyNames(path...)
	if errors.Is(err, hive.ErrNotFound) {
		return nil, nil
	}
	return names, err
}
