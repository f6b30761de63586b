package nativeboot

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// Values of a service ([MS-SCMR] 2.2.15).
const (
	kernelDriver = 1 // SERVICE_KERNEL_DRIVER
	bootStart    = 0 // SERVICE_BOOT_START
)

// Why changes are made, for people.
const (
	whyStart    = "Windows loads the driver of its disk at boot only"
	whyOverride = "it kept Windows from loading the driver at boot, as for a disk that was streamed the driver was not needed"
)

// fixDrivers has Windows load the platform's storage drivers at boot, in every
// control set that has them, and notes for which controllers it has one. If it
// has none, it fails.
func (w *windows) fixDrivers() error {
	var lacks []string
	var some job.Controller
	fits := false
	for _, d := range drivers[w.platform] {
		reason, err := w.unfit(d)
		if err != nil {
			return w.broken(err)
		}
		if reason != "" {
			lacks = append(lacks, reason)
			continue
		}
		for _, set := range w.sets {
			if err := w.load(set, d); err != nil {
				return w.broken(err)
			}
		}
		if fits = fits || !d.some; d.some {
			some = d.controller
		}
		if d.controller != "" && !slices.Contains(w.controllers, d.controller) {
			w.controllers = append(w.controllers, d.controller)
		}
	}
	if fits {
		return nil
	}
	if some != "" {
		lacks = append(lacks, fmt.Sprintf("only some machines have a controller of kind %s, for which it has one", some))
	}
	return job.Errorf(job.NativeDriversMissing, fmt.Sprintf("Install the drivers of %s in the vDisk's master, or copy it as it is with %q: %q", w.platform, "fixups", job.FixUpsNone),
		"the Windows on %s has no driver that finds its disk on %s: %s", w.volume, w.platform, strings.Join(lacks, "; "))
}

// unfit says why a driver will not find the disk of the Windows; "" if it will.
func (w *windows) unfit(d driver) (string, error) {
	for _, s := range d.services {
		if s.optional {
			continue
		}
		path, err := w.driverFile(w.current, s.name)
		if errors.Is(err, hive.ErrNotFound) {
			return fmt.Sprintf("there is no service %s", s.name), nil
		}
		if err != nil {
			return "", err
		}
		if there, err := w.exists(path); err != nil || !there {
			return fmt.Sprintf("the service %s has no %s", s.name, path), err
		}
	}
	name := d.services[0].name
	if d.before != 0 && (w.build == 0 || w.build >= d.before) {
		reason := fmt.Sprintf("%s is not relied on in Windows 11, Windows Server 2025 and later", name)
		if w.build == 0 {
			reason += ", and which one this is cannot be told"
		}
		return reason, nil
	}
	if !w.knows(d.devices) {
		reason := fmt.Sprintf("Windows connects no device %s with %s", strings.Join(d.devices, " or "), name)
		w.warn("the driver %s is there, but does not count: %s", name, reason)
		return reason, nil
	}
	return "", nil
}

// driverFile gives the path of a driver's file on the volume. The error is
// hive.ErrNotFound if there is no such driver.
func (w *windows) driverFile(set, name string) (string, error) {
	key, err := w.hive().Lookup(set, "Services", name)
	if err != nil {
		return "", err
	}
	kind, _ := key.Value("Type")
	start, _ := key.Value("Start")
	n, isNumber := kind.Uint32()
	if _, ok := start.Uint32(); !isNumber || !ok || n != kernelDriver {
		return "", fmt.Errorf("%w: a driver %s", hive.ErrNotFound, name)
	}
	image, _ := key.Value("ImagePath")
	if image.String() == "" {
		return `\Windows\System32\drivers\` + key.Name + ".sys", nil // where Windows looks, too
	}
	return onVolume(image.String()), nil
}

// onVolume is the path of a driver's file, which may begin with the folder of
// Windows in several ways, or be below it.
func onVolume(image string) string {
	path := strings.ReplaceAll(strings.Trim(image, `" `), "/", `\`)
	path, _ = cutPrefixFold(path, `\??\`)
	if len(path) > 2 && path[1] == ':' { // C:
		return path[2:]
	}
	for _, root := range []string{`\SystemRoot\`, `%SystemRoot%\`, `\Windows\`} {
		if below, ok := cutPrefixFold(path, root); ok {
			path = below
			break
		}
	}
	return `\Windows\` + strings.TrimLeft(path, `\`)
}

// exists reports whether there is a file with something in it.
func (w *windows) exists(path string) (bool, error) {
	e, err := w.ntfs.Stat(path)
	if errors.Is(err, ntfs.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, volumeError(w.volume, err)
	}
	return !e.IsDir && e.Size > 0, nil
}

// load has the services of a driver loaded at boot, those that a control set
// has with their files.
func (w *windows) load(set string, d driver) error {
	for _, s := range d.services {
		file, err := w.driverFile(set, s.name)
		if errors.Is(err, hive.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if there, err := w.exists(file); err != nil {
			return err
		} else if !there {
			continue
		}
		path := []string{set, "Services", s.name}
		if !s.keepStart {
			if err := w.setNumber(path, "Start", bootStart, whyStart); err != nil {
				return err
			}
		}
		if err := w.deleteKey(append(path, "StartOverride"), whyOverride); err != nil {
			return err
		}
	}
	return nil
}
