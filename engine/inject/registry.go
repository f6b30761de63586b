package inject

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"imageport/engine/windows/hive"
	"imageport/engine/windows/offline"
	"imageport/firstboot/plan"
	"imageport/job"
)

// Undo is what Clean needs to know of what Inject has changed. As JSON it has
// less than 8 KiB.
type Undo struct {
	// Current is the control set that Windows started with; of those that Windows
	// has made since, this is what they were made from.
	Current string    `json:"current,omitempty"`
	Sets    []SetUndo `json:"sets,omitempty"`
	// MadeParent says that the folder which ours is in was not there.
	MadeParent bool `json:"madeParent,omitempty"`
}

// SetUndo is what was in a control set.
type SetUndo struct {
	Set string `json:"set"`
	// AutoReboot is the old number; nil if there was none.
	AutoReboot *uint32 `json:"autoReboot,omitempty"`
	// MadeCrashControl says that the key of AutoReboot was not there.
	MadeCrashControl bool `json:"madeCrashControl,omitempty"`
}

// maxSets bounds the control sets, of which Windows has two or three.
const maxSets = 32

// Values of a service ([MS-SCMR] 2.2.15).
const (
	ownProcess  = 0x10 // SERVICE_WIN32_OWN_PROCESS
	autoStart   = 2    // SERVICE_AUTO_START
	errorNormal = 1    // SERVICE_ERROR_NORMAL
)

const displayName = "imageport first boot"

// imagePath is the command line of the service.
const imagePath = `"` + plan.Folder + `\` + plan.RunnerFile + `" ` + plan.ServiceArg

// Why changes are made, for people.
const (
	whyService = "Windows starts the runner that upgrades the PVS target software with it"
	whyReboot  = "a Windows that has crashed is to stay so that its screen can be seen"
	whyLog     = "what Windows still has in the log of its registry belongs to it"
	whyBack    = "it was there for the upgrade only"
	whyPages   = "Windows makes it anew when it starts"
)

const autoReboot = "AutoReboot"

func serviceKey(set string) []string      { return []string{set, "Services", plan.Service} }
func crashControlKey(set string) []string { return []string{set, "Control", "CrashControl"} }

// legacyKey is what Windows may make for a service itself ("\Enum\Root\LEGACY_").
func legacyKey(set string) []string {
	return []string{set, "Enum", "Root", "LEGACY_" + strings.ToUpper(plan.Service)}
}

// registry is a SYSTEM hive that is being changed.
type registry struct {
	*offline.Windows
	fixUps []job.FixUp
}

func newRegistry(w *offline.Windows) (*registry, error) {
	if len(w.ControlSets) > maxSets {
		return nil, job.Errorf(job.HiveCorrupt, offline.CheckImage, "%s has %d control sets, at most %d expected", w.System.Place, len(w.ControlSets), maxSets)
	}
	w.System.AllowGrowth(len(w.System.Bytes()) + hiveGrowth)
	return &registry{Windows: w}, nil
}

func (r *registry) fixed(what []string, before, after, why string) {
	r.fixUps = append(r.fixUps, job.FixUp{What: strings.Join(append([]string{"HKLM", "SYSTEM"}, what...), `\`), Old: before, New: after, Why: why})
}

// arm has Windows start the runner, and stay where it has crashed, whichever
// control set it takes.
func (r *registry) arm() (Undo, error) {
	undo := Undo{Current: r.Current}
	for _, set := range r.ControlSets {
		old, err := r.armSet(set)
		if err != nil {
			return Undo{}, r.System.Fault(err)
		}
		undo.Sets = append(undo.Sets, old)
	}
	return undo, nil
}

func (r *registry) armSet(set string) (SetUndo, error) {
	undo := SetUndo{Set: set}
	key := serviceKey(set)
	// Keys have the time of the hive, so that the same image gives the same hive.
	if err := r.System.CreateKey(key, r.System.File.ModTime()); err != nil {
		return undo, err
	}
	for _, v := range []hive.Value{
		hive.DWORD("Type", ownProcess), hive.DWORD("Start", autoStart), hive.DWORD("ErrorControl", errorNormal),
		hive.ExpandSZ("ImagePath", imagePath), hive.SZ("DisplayName", displayName), hive.SZ("ObjectName", "LocalSystem"),
	} {
		if err := r.System.SetValue(key, v); err != nil {
			return undo, err
		}
	}
	r.fixed(key, "", imagePath, whyService)

	key = crashControlKey(set)
	crash, err := r.System.Find(key...)
	if err != nil {
		return undo, err
	}
	before := ""
	if crash == nil {
		undo.MadeCrashControl = true
		if err := r.System.CreateKey(key, r.System.File.ModTime()); err != nil {
			return undo, err
		}
	} else if old, ok := crash.Value(autoReboot); ok {
		n, isNumber := old.Uint32()
		if !isNumber {
			return undo, fmt.Errorf("%w: %s of %s has type %d and %d bytes, want a number", hive.ErrCorrupt, autoReboot, strings.Join(key, `\`), old.Type, len(old.Data))
		}
		undo.AutoReboot, before = &n, strconv.FormatUint(uint64(n), 10)
	}
	if undo.AutoReboot != nil && *undo.AutoReboot == 0 {
		return undo, nil
	}
	if err := r.System.SetValue(key, hive.DWORD(autoReboot, 0)); err != nil {
		return undo, err
	}
	r.fixed(append(key, autoReboot), before, "0", whyReboot)
	return undo, nil
}

// disarm takes everything of ours out of the hive.
func (r *registry) disarm(undo Undo) error {
	for _, set := range r.ControlSets {
		for _, key := range [][]string{serviceKey(set), legacyKey(set)} {
			if err := r.drop(key); err != nil {
				return r.System.Fault(err)
			}
		}
		if err := r.restore(set, undo); err != nil {
			return r.System.Fault(err)
		}
	}
	return nil
}

// drop deletes a key, if it is there.
func (r *registry) drop(key []string) error {
	found, err := r.System.Find(key...)
	if err != nil || found == nil {
		return err
	}
	if err := r.System.DeleteKey(key...); err != nil {
		return err
	}
	image, _ := found.Value("ImagePath")
	r.fixed(key, image.String(), "", whyBack)
	return nil
}

// restore gives AutoReboot the value that it had, unless it has another one than
// ours now.
func (r *registry) restore(set string, undo Undo) error {
	old, ok := undo.of(set)
	if !ok {
		return nil
	}
	key := crashControlKey(set)
	crash, err := r.System.Find(key...)
	if err != nil || crash == nil {
		return err
	}
	if now, _ := crash.Value(autoReboot); !isZero(now) {
		return nil
	}
	name := append(slices.Clone(key), autoReboot)
	switch {
	case old.AutoReboot != nil && *old.AutoReboot == 0:
		return nil
	case old.AutoReboot != nil:
		if err := r.System.SetValue(key, hive.DWORD(autoReboot, *old.AutoReboot)); err != nil {
			return err
		}
		r.fixed(name, "0", strconv.FormatUint(uint64(*old.AutoReboot), 10), whyBack)
		return nil
	}
	if err := r.System.DeleteValue(key, autoReboot); err != nil {
		return err
	}
	r.fixed(name, "0", "", whyBack)
	below, err := r.System.Names(key...)
	if err != nil || !old.MadeCrashControl || len(crash.Values) > 1 || len(below) > 0 {
		return err
	}
	return r.System.DeleteKey(key...)
}

func isZero(v hive.Value) bool {
	n, ok := v.Uint32()
	return ok && n == 0
}

// of is what was in a set, or in what Windows has made it from.
func (u Undo) of(set string) (SetUndo, bool) {
	for _, name := range []string{set, u.Current} {
		for _, s := range u.Sets {
			if strings.EqualFold(s.Set, name) {
				return s, true
			}
		}
	}
	return SetUndo{}, false
}

// traces lists what of ours is in the hive.
func (r *registry) traces() ([]string, error) {
	var list []string
	for _, set := range r.ControlSets {
		for _, key := range [][]string{serviceKey(set), legacyKey(set)} {
			found, err := r.System.Find(key...)
			if err != nil {
				return nil, r.System.Fault(err)
			}
			if found != nil {
				list = append(list, strings.Join(append([]string{"HKLM", "SYSTEM"}, key...), `\`))
			}
		}
	}
	return list, nil
}

// completed reports that a hive was not written to its end, and is now.
func completed(h *offline.Hive, path string) job.FixUp {
	return job.FixUp{What: path, Old: "not written to its end", New: fmt.Sprintf("completed with %d entries of its log", h.Entries), Why: whyLog}
}
