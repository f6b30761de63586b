package nativeboot

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"imageport/engine/windows/hive"
	"imageport/engine/windows/offline"
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
			return w.System.Fault(err)
		}
		if reason != "" {
			lacks = append(lacks, reason)
			continue
		}
		for _, set := range w.ControlSets {
			if err := w.load(set, d); err != nil {
				return w.System.Fault(err)
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
		"the Windows on %s has no driver that finds its disk on %s: %s", w.Volume, w.platform, strings.Join(lacks, "; "))
}

// unfit says why a driver will not find the disk of the Windows; "" if it will.
func (w *windows) unfit(d driver) (string, error) {
	for _, s := range d.services {
		if s.optional {
			continue
		}
		path, err := w.driverFile(w.Current, s.name)
		if errors.Is(err, hive.ErrNotFound) {
			return fmt.Sprintf("there is no service %s", s.name), nil
		}
		if err != nil {
			return "", err
		}
		if there, err := w.HasFile(path); err != nil || !there {
			return fmt.Sprintf("the service %s has no %s", s.name, path), err
		}
	}
	name := d.services[0].name
	if d.before != 0 && (w.release.Build == 0 || w.release.Build >= d.before) {
		reason := fmt.Sprintf("%s is not relied on in Windows 11, Windows Server 2025 and later", name)
		if w.release.Build == 0 {
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
	key, err := w.System.Lookup(set, "Services", name)
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
	return offline.DriverFile(key.Name, image.String()), nil
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
		if there, err := w.HasFile(file); err != nil {
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
