package offline

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"imageport/engine/windows/hive"
)

// Windows is an installation that is not running.
type Windows struct {
	*Volume
	System *Hive
	// ControlSets are the names of its control sets, ControlSet001 and so on, in
	// the order of the hive: at least one.
	ControlSets []string
	// Current is the one that it starts with.
	Current string
}

// OpenWindows opens the Windows on a volume, which it has to have finished with.
// Its errors are those of Settled and OpenHive.
func (v *Volume) OpenWindows() (*Windows, error) {
	if err := v.Settled(); err != nil {
		return nil, err
	}
	w := &Windows{Volume: v}
	var err error
	if w.System, err = v.OpenHive(PathSystem); err != nil {
		return nil, err
	}
	if w.ControlSets, w.Current, err = w.System.controlSets(); err != nil {
		return nil, w.System.Fault(err)
	}
	return w, nil
}

var isControlSet = regexp.MustCompile(`^(?i:ControlSet)[0-9]{3}$`)

// controlSets finds the control sets of a SYSTEM hive, and the one of them that
// Windows starts with.
func (h *Hive) controlSets() (sets []string, current string, err error) {
	names, err := h.SubkeyNames()
	if err != nil {
		return nil, "", err
	}
	for _, name := range names {
		if isControlSet.MatchString(name) {
			sets = append(sets, name)
		}
	}
	if len(sets) == 0 {
		return nil, "", fmt.Errorf("%w: control sets", hive.ErrNotFound)
	}
	current = sets[0]
	selected, err := h.Find("Select")
	if err != nil || selected == nil {
		return sets, current, err
	}
	v, _ := selected.Value("Default")
	if n, ok := v.Uint32(); ok {
		for _, set := range sets {
			if strings.HasSuffix(set, fmt.Sprintf("%03d", n)) {
				current = set
			}
		}
	}
	return sets, current, nil
}

// Release is which Windows it is.
type Release struct {
	// Product is its name for people, such as Windows 11 Enterprise; Edition is
	// one for programs, and Version such as 22H2.
	Product, Edition, Version string
	// Build is 0 where CurrentBuild, which says it, is not a number.
	Build        int
	CurrentBuild string
	Server       bool
}

// windows11 is its first build.
const windows11 = 22000

// Release reads what a SOFTWARE hive says of its Windows. Its errors are those of
// package hive.
func (h *Hive) Release() (Release, error) {
	key, err := h.Lookup("Microsoft", "Windows NT", "CurrentVersion")
	if err != nil {
		return Release{}, err
	}
	text := func(name string) string {
		v, _ := key.Value(name)
		return v.String()
	}
	r := Release{
		Product:      text("ProductName"),
		Edition:      text("EditionID"),
		Version:      text("DisplayVersion"),
		CurrentBuild: text("CurrentBuild"),
		Server:       strings.HasPrefix(text("InstallationType"), "Server"),
	}
	if n, err := strconv.Atoi(r.CurrentBuild); err == nil && n >= 0 {
		r.Build = n
	}
	// Windows 11 still calls itself 10 there.
	if rest, ok := strings.CutPrefix(r.Product, "Windows 10"); ok && r.Build >= windows11 {
		r.Product = "Windows 11" + rest
	}
	return r, nil
}
