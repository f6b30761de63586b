package nativeboot

import "imageport/job"

// Values of the XenServer drivers. Windows starts from a disk of XenServer as
// long as xen.sys does not take the emulated disk away, or xenvbd brings the
// same disk back.
const (
	whyCount  = "the drivers take 0 for a bus that was removed"
	whyActive = "it names a device of the VM that the image was made in; the driver finds the one of its new VM"
	whyUnplug = "the emulated disk stays until the drivers have found the other one, so that Windows starts in any case"
)

// fixXen resets what the XenServer drivers remember of the VM that the image was
// made in, as XenServer's XenClean does (xenfilt, Unplug) and Amazon's recovery
// of a Windows Server 2012 R2 whose devices were cleaned up (Count).
//
// Unplug and the Active values are only reset where Windows can start from the
// emulated disk that it finds then.
func (w *windows) fixXen() error {
	if w.platform != job.PlatformXenServer {
		return nil
	}
	if reason, err := w.unfit(xenbd); err != nil || reason != "" {
		return w.System.Fault(err)
	}
	emulated := false
	for _, d := range []driver{ahci, ahciOld, nvme, ide} {
		reason, err := w.unfit(d)
		if err != nil {
			return w.System.Fault(err)
		}
		emulated = emulated || reason == ""
	}
	for _, set := range w.ControlSets {
		services := func(path ...string) []string { return append([]string{set, "Services"}, path...) }
		if err := w.countBus(services("xenbus")); err != nil {
			return w.System.Fault(err)
		}
		if !emulated {
			continue
		}
		for _, name := range []string{"ActiveDeviceID", "ActiveInstanceID", "ActiveLocationInformation"} {
			if err := w.deleteValue(services("xenfilt", "Parameters"), name, whyActive); err != nil {
				return w.System.Fault(err)
			}
		}
		if err := w.deleteKey(services("XEN", "Unplug"), whyUnplug); err != nil {
			return w.System.Fault(err)
		}
	}
	return nil
}

// countBus makes a Count of 0 a 1. Any other is left alone.
func (w *windows) countBus(path []string) error {
	key, err := w.System.Find(path...)
	if err != nil || key == nil {
		return err
	}
	count, _ := key.Value("Count")
	if n, ok := count.Uint32(); !ok || n != 0 {
		return nil
	}
	return w.setNumber(path, "Count", 1, whyCount)
}
