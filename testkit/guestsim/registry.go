package guestsim

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"imageport/engine/windows/hive"
	"imageport/testkit/guestsim/winereg"
)

// mapping is a key that a hive and Wine's registry have in common, with
// everything below it, or with some of its values only.
type mapping struct {
	software  bool   // in the hive SOFTWARE, else in SYSTEM
	hive      string // below the root, or for SYSTEM below the control set
	wine      string
	values    []string // if not nil: only these
	isService bool
}

const (
	windowsKey = `Microsoft\Windows\CurrentVersion\`
	ntKey      = `Microsoft\Windows NT\CurrentVersion`
)

// mappings are no more than programs need: Wine has a Windows of its own, which a
// registry of another one would break.
var mappings = []mapping{
	{hive: "Services", wine: `System\CurrentControlSet\Services`, isService: true},
	{hive: `Control\Session Manager`, wine: `System\CurrentControlSet\Control\Session Manager`, values: []string{"PendingFileRenameOperations"}},
	{software: true, hive: "Citrix", wine: `Software\Citrix`},
	{software: true, hive: `Classes\Installer`, wine: `Software\Classes\Installer`},
	{software: true, hive: windowsKey + "Uninstall", wine: `Software\` + windowsKey + "Uninstall"},
	{software: true, hive: windowsKey + "Installer", wine: `Software\` + windowsKey + "Installer"},
	{software: true, hive: windowsKey + "SharedDLLs", wine: `Software\` + windowsKey + "SharedDLLs"},
	{software: true, hive: windowsKey + "Component Based Servicing", wine: `Software\` + windowsKey + "Component Based Servicing"},
	{software: true, hive: windowsKey + "WindowsUpdate", wine: `Software\` + windowsKey + "WindowsUpdate"},
	// What programs take for the version of Windows.
	{software: true, hive: ntKey, wine: `Software\` + ntKey, values: []string{
		"CurrentVersion", "CurrentBuild", "CurrentBuildNumber", "CurrentMajorVersionNumber", "CurrentMinorVersionNumber",
	}},
}

// pick gives those of a key's values that are mapped.
func (m mapping) pick(values []hive.Value) []hive.Value {
	var picked []hive.Value
	for _, v := range values {
		if slices.ContainsFunc(m.values, func(name string) bool { return strings.EqualFold(name, v.Name) }) {
			picked = append(picked, v)
		}
	}
	return picked
}

// registry is a Windows' registry while it runs in Wine.
type registry struct {
	windows *windows
	before  map[string]winereg.Key // what of it was mapped, by lower-case path
	own     map[string]bool        // services that Wine has itself, by lower-case name
}

// importRegistry puts the hives' part into the registry of a Wine that does not
// run. Without services, none but Wine's own are in it.
func importRegistry(w *windows, services bool, now time.Time) (*registry, error) {
	text, err := os.ReadFile(registryFile)
	if err != nil {
		return nil, fmt.Errorf("guestsim: %w", err)
	}
	keys, err := winereg.Read(text)
	if err != nil {
		return nil, err
	}
	r := &registry{windows: w, own: map[string]bool{}}
	for _, k := range keys {
		if rest, ok := below(k.Path, mappings[0].wine); ok && rest != "" {
			name, _, _ := strings.Cut(rest, `\`)
			r.own[strings.ToLower(name)] = true
		}
	}
	var in []winereg.Key
	for _, m := range mappings {
		if m.isService && !services {
			continue
		}
		found, err := r.read(m)
		if err != nil {
			return nil, err
		}
		in = append(in, found...)
	}
	out := bytes.NewBuffer(text)
	if err := winereg.Write(out, now, in); err != nil {
		return nil, err
	}
	if err := os.WriteFile(registryFile, out.Bytes(), 0o644); err != nil {
		return nil, fmt.Errorf("guestsim: %w", err)
	}
	r.before, err = r.mapped(out.Bytes())
	return r, err
}

// source is the hive of a mapping, and the path of the mapping's key in it.
func (r *registry) source(m mapping) (*hive.Hive, string) {
	if m.software {
		return r.windows.software.hive, m.hive
	}
	return r.windows.system.hive, r.windows.set + `\` + m.hive
}

// read reads a mapping's keys from its hive.
func (r *registry) read(m mapping) ([]winereg.Key, error) {
	h, path := r.source(m)
	key, err := h.Lookup(path)
	if errors.Is(err, hive.ErrNotFound) {
		return nil, nil
	}
	if err == nil && m.values == nil {
		var root *hive.Key
		if root, err = h.Root(); err == nil {
			key = root.Key(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("guestsim: Windows does not start: %w", err)
	}
	if m.values != nil {
		return []winereg.Key{{Path: m.wine, Values: m.pick(key.Values)}}, nil
	}
	var keys []winereg.Key
	var add func(k *hive.Key, path string)
	add = func(k *hive.Key, path string) {
		keys = append(keys, winereg.Key{Path: path, Values: k.Values})
		for _, s := range k.Subkeys {
			add(s, path+`\`+s.Name)
		}
	}
	if !m.isService {
		add(key, m.wine)
		return keys, nil
	}
	for _, s := range key.Subkeys {
		if !r.own[strings.ToLower(s.Name)] {
			restrain(s)
			add(s, m.wine+`\`+s.Name)
		}
	}
	return keys, nil
}

// Types of services that are drivers (winsvc.h), and the start of one by hand.
const (
	serviceDrivers = 0x1 | 0x2 | 0x8
	startOnDemand  = 3
)

// restrain keeps Wine from starting a driver: there is no kernel for it.
func restrain(service *hive.Key) {
	kind, _ := service.Value("Type")
	start, ok := service.Value("Start")
	if n, _ := kind.Uint32(); n&serviceDrivers == 0 || !ok {
		return
	}
	if n, _ := start.Uint32(); n < startOnDemand {
		service.Set(hive.DWORD(start.Name, startOnDemand))
	}
}

// mapped picks what is mapped from the text of Wine's registry.
func (r *registry) mapped(text []byte) (map[string]winereg.Key, error) {
	keys, err := winereg.Read(text)
	if err != nil {
		return nil, err
	}
	picked := map[string]winereg.Key{}
	for _, k := range keys {
		m, rest, ok := mappingOf(k.Path)
		if !ok {
			continue
		}
		if m.isService {
			name, _, _ := strings.Cut(rest, `\`)
			if name == "" || r.own[strings.ToLower(name)] {
				continue
			}
		}
		if m.values != nil {
			if rest != "" {
				continue
			}
			k.Values = m.pick(k.Values)
		}
		picked[strings.ToLower(k.Path)] = k
		// Keys above it are there, too: Wine does not write those without values.
		for path := k.Path; m.values == nil && !strings.EqualFold(path, m.wine); {
			path = path[:strings.LastIndexByte(path, '\\')]
			if lower := strings.ToLower(path); picked[lower].Path == "" {
				picked[lower] = winereg.Key{Path: path}
			}
		}
	}
	return picked, nil
}

func mappingOf(path string) (m mapping, rest string, ok bool) {
	for _, m := range mappings {
		if rest, ok := below(path, m.wine); ok {
			return m, rest, true
		}
	}
	return mapping{}, "", false
}

// below gives the path of a key relative to one above it, or itself.
func below(path, key string) (rest string, ok bool) {
	if len(path) < len(key) || !strings.EqualFold(path[:len(key)], key) {
		return "", false
	}
	rest = path[len(key):]
	if rest == "" {
		return "", true
	}
	return strings.CutPrefix(rest, `\`)
}

// export puts what changed in Wine's registry, after it has ended, into the hives
// and writes them.
func (r *registry) export(now time.Time) error {
	text, err := os.ReadFile(registryFile)
	if err != nil {
		return fmt.Errorf("guestsim: %w", err)
	}
	after, err := r.mapped(text)
	if err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(r.before)) {
		if _, ok := after[path]; !ok {
			old := r.before[path]
			if err := r.remove(old); err != nil {
				return fmt.Errorf("guestsim: write back %s: %w", old.Path, err)
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(after)) {
		k := after[path]
		old, known := r.before[path]
		if err := r.update(old, k, known, now); err != nil {
			return fmt.Errorf("guestsim: write back %s: %w", k.Path, err)
		}
	}
	return errors.Join(r.windows.system.save(now), r.windows.software.save(now))
}

// target is where a key of Wine's belongs.
func (r *registry) target(k winereg.Key) (m mapping, h *hive.Hive, path []string) {
	m, rest, _ := mappingOf(k.Path)
	h, at := r.source(m)
	return m, h, []string{at, rest}
}

func (r *registry) remove(k winereg.Key) error {
	m, h, path := r.target(k)
	if m.values != nil || m.isService && path[1] == "" {
		return nil // the key itself is Windows'
	}
	err := h.DeleteKey(path...)
	if errors.Is(err, hive.ErrNotFound) { // with the key above it
		return nil
	}
	return err
}

func (r *registry) update(old, k winereg.Key, known bool, now time.Time) error {
	_, h, path := r.target(k)
	if !known {
		if err := h.CreateKey(path, now); err != nil {
			return err
		}
	}
	was, is := &hive.Key{Values: old.Values}, &hive.Key{Values: k.Values}
	for _, v := range is.Values {
		if before, ok := was.Value(v.Name); ok && before.Type == v.Type && bytes.Equal(before.Data, v.Data) {
			continue
		}
		if err := h.CreateKey(path, now); err != nil { // there, unless Wine made it
			return err
		}
		if err := h.SetValue(path, v); err != nil {
			return err
		}
	}
	for _, v := range was.Values {
		if _, ok := is.Value(v.Name); ok {
			continue
		}
		if err := h.DeleteValue(path, v.Name); err != nil && !errors.Is(err, hive.ErrNotFound) {
			return err
		}
	}
	return nil
}
