package pvstarget

import (
	"fmt"
	"strings"

	"imageport/engine/windows/hive"
	"imageport/engine/windows/offline"
)

// maxKeys bounds how many subkeys of a key are looked into: many times what a
// Windows has there.
const maxKeys = 2048

// readRegistry reads everything that the registry says. Its errors are
// job.Errors, or those of looking for files.
func (in *inspector) readRegistry(w *offline.Windows, software *offline.Hive) error {
	release, err := software.Release()
	if err != nil {
		return software.Fault(err)
	}
	in.Product, in.Build, in.Server = shorten(release.Product), release.Build, release.Server
	if in.Build == 0 {
		in.warn("%s: CurrentBuild is %q, not a number", software.Place, shorten(release.CurrentBuild))
	}
	for _, read := range []func(*offline.Hive) error{in.readProgram, in.readImageState, in.readServicing} {
		if err := read(software); err != nil {
			return software.Fault(err)
		}
	}
	for _, read := range []func(*offline.Hive, string) error{in.readSetup, in.readRenames, in.readServices, in.readNICs} {
		if err := read(w.System, w.Current); err != nil {
			return w.System.Fault(err)
		}
	}
	return nil
}

// keys gives the names of a key's subkeys, those that are looked into.
func (in *inspector) keys(h *offline.Hive, path ...string) ([]string, error) {
	if err := in.ctx.Err(); err != nil {
		return nil, err
	}
	names, err := h.Names(path...)
	if len(names) > maxKeys {
		in.warn("%s has %d keys in %s, of which %d were looked at", h.Place, len(names), strings.TrimLeft(strings.Join(path, `\`), `\`), maxKeys)
		names = names[:maxKeys]
	}
	return names, err
}

// find reads a key; nil if there is none.
func (in *inspector) find(h *offline.Hive, path ...string) (*hive.Key, error) {
	if err := in.ctx.Err(); err != nil {
		return nil, err
	}
	return h.Find(path...)
}

// text is a textual value, shortened; "" if the key or the value is not there, or
// it is of another type.
func text(k *hive.Key, name string) string {
	if k == nil {
		return ""
	}
	v, _ := k.Value(name)
	if len(v.Data) > 8*maxText { // decoded for nothing
		v.Data = v.Data[:8*maxText]
	}
	return shorten(v.String())
}

// number is a numeric value.
func number(k *hive.Key, name string) (uint32, bool) {
	if k == nil {
		return 0, false
	}
	v, _ := k.Value(name)
	return v.Uint32()
}

// complete is the ImageState of a Windows that has been set up.
const complete = "IMAGE_STATE_COMPLETE"

// readImageState reads whether the image was generalized (sysprep).
func (in *inspector) readImageState(software *offline.Hive) error {
	k, err := in.find(software, `Microsoft\Windows\CurrentVersion\Setup\State`)
	if err != nil {
		return err
	}
	if state := text(k, "ImageState"); state != "" && !strings.EqualFold(state, complete) {
		in.SetupPending = "ImageState is " + state
	}
	return nil
}

// readSetup reads whether the set-up of Windows goes on at its next start.
func (in *inspector) readSetup(system *offline.Hive, _ string) error {
	k, err := in.find(system, "Setup")
	if err != nil {
		return err
	}
	var reasons []string
	for _, name := range []string{"SystemSetupInProgress", "OOBEInProgress", "SetupType"} {
		if n, ok := number(k, name); ok && n != 0 {
			reasons = append(reasons, fmt.Sprintf(`SYSTEM\Setup has %s=%d`, name, n))
		}
	}
	if in.SetupPending != "" {
		reasons = append(reasons, in.SetupPending)
	}
	in.SetupPending = strings.Join(reasons, ", ")
	return nil
}

// readServicing reads which parts of Windows wait for it to start anew. Windows
// keeps some of these keys in memory only: then the start has taken place.
func (in *inspector) readServicing(software *offline.Hive) error {
	for _, path := range []string{
		`Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending`,
		`Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired`,
	} {
		k, err := in.find(software, path)
		if err != nil {
			return err
		}
		if k != nil {
			in.PendingReboot = append(in.PendingReboot, path[strings.LastIndexByte(path, '\\')+1:])
		}
	}
	return nil
}

// readRenames reads whether files are to be replaced at the next start.
func (in *inspector) readRenames(system *offline.Hive, set string) error {
	k, err := in.find(system, set, "Control", "Session Manager")
	if err != nil || k == nil {
		return err
	}
	for _, name := range []string{"PendingFileRenameOperations", "PendingFileRenameOperations2"} {
		// Pairs of names, of which the second is empty for a file to be deleted.
		if v, ok := k.Value(name); ok && len(strings.Trim(string(v.Data), "\x00")) > 0 {
			in.PendingReboot = append(in.PendingReboot, name)
		}
	}
	return nil
}

// classNet is the class of network adapters (GUID_DEVCLASS_NET in devguid.h).
const classNet = "{4d36e972-e325-11ce-bfc1-08002be10318}"

// readNICs lists the network adapters on the PCI bus.
func (in *inspector) readNICs(system *offline.Hive, set string) error {
	devices, err := in.keys(system, set, "Enum", "PCI")
	if err != nil {
		return err
	}
	more := 0
	for _, device := range devices {
		instances, err := in.keys(system, set, "Enum", "PCI", device)
		if err != nil {
			return err
		}
		for _, instance := range instances {
			k, err := in.find(system, set, "Enum", "PCI", device, instance)
			if err != nil {
				return err
			}
			if !strings.EqualFold(text(k, "ClassGUID"), classNet) && !strings.EqualFold(text(k, "Class"), "Net") {
				continue
			}
			if len(in.NICs) == maxListed {
				more++
				continue
			}
			in.NICs = append(in.NICs, shorten(device+`\`+instance))
		}
	}
	if more > 0 {
		in.warn("Windows knows %d network adapters more than are listed", more)
	}
	return nil
}
