package pvs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrManifest says that a manifest is not one that PVS can use, or does not fit
// the files that it lists.
var ErrManifest = errors.New("unusable manifest")

// Type is what made a version: Get-PvsDiskVersion, Type.
type Type int

// The types. Base and MergeBase are whole disks, the others differencing ones.
const (
	Base Type = iota
	Manual
	Automatic
	Merge
	MergeBase
)

func (t Type) differencing() bool { return t != Base && t != MergeBase }

// Access is who may boot a version: Get-PvsDiskVersion, Access.
type Access int

// The access modes.
const (
	Production Access = iota
	Maintenance
	MaintenanceHighest
	Override
	Merging
	MergingToMaintenance
	MergingToTest
	Test
)

var accessNames = [...]string{"production", "maintenance", "maintenance", "override", "a merge", "a merge to maintenance", "a merge to test", "test"}

func (a Access) String() string {
	if a < 0 || int(a) >= len(accessNames) {
		return fmt.Sprintf("access %d", int(a))
	}
	return accessNames[a]
}

// Entry is one version in a manifest. Times are in UTC, to the second.
type Entry struct {
	Number      int
	Description string // at most 250 characters
	Type        Type
	Access      Access
	Created     time.Time // zero if the manifest does not say
	// DeleteWhenFree is set once a merge has made the version superfluous.
	DeleteWhenFree bool
	File           string
	Size           int64     // bytes, -1 if the manifest does not say
	Modified       time.Time // of the file, zero if the manifest does not say
}

// File is a file of the store's folder.
type File struct {
	Name     string
	Size     int64 // bytes
	Modified time.Time
}

// Manifest is the list of a vDisk's versions. It is valid: its entries are
// versions of one vDisk with different numbers from the starting version on,
// and at most the highest one is in maintenance.
type Manifest struct {
	text     string
	encoding encoding
	layout   layout
	starting int
	disk     string
	entries  []Entry // by number
}

// Disk is the name of the vDisk.
func (m Manifest) Disk() string { return m.disk }

// StartingVersion is the number of the first version that the manifest is about.
func (m Manifest) StartingVersion() int { return m.starting }

// Entries lists the versions by their numbers.
func (m Manifest) Entries() []Entry { return slices.Clone(m.entries) }

// Latest is the version with the highest number.
func (m Manifest) Latest() Entry { return m.entries[len(m.entries)-1] }

// Encode gives the file. A manifest that was parsed is the same bytes but for
// what Add put in.
func (m Manifest) Encode() []byte { return m.encoding.encode(m.text) }

// valid checks what PVS relies on, and sorts the entries.
func (m *Manifest) valid() error {
	if len(m.entries) == 0 {
		return fmt.Errorf("%w: it lists no version", ErrManifest)
	}
	slices.SortStableFunc(m.entries, func(a, b Entry) int { return cmp.Compare(a.Number, b.Number) })
	latest := m.Latest()
	for i, e := range m.entries {
		name, err := e.name()
		if err != nil {
			return err
		}
		if i == 0 {
			m.disk = name.Disk
		}
		bad := func(format string, args ...any) error {
			return fmt.Errorf("%w: version %d: %s", ErrManifest, e.Number, fmt.Sprintf(format, args...))
		}
		switch {
		case fold(name.Disk) != fold(m.disk):
			return bad("%s is of the vDisk %s, not of %s", e.File, name.Disk, m.disk)
		case e.Number < m.starting:
			return bad("lies before the startingVersion, %d", m.starting)
		case i > 0 && e.Number == m.entries[i-1].Number:
			return bad("listed twice")
		case e.Type.differencing() != name.Differencing:
			return bad("the type is %d, but %s is named like another", e.Type, e.File)
		case (e.Access == Maintenance || e.Access == MaintenanceHighest) && e.Number != latest.Number:
			return bad("in maintenance, but only the latest version, %d, may be", latest.Number)
		}
	}
	return nil
}

// name reads the name of the entry's file as that of the version it says it is.
func (e Entry) name() (Name, error) {
	n, ok := ParseName(e.File)
	if e.Number == 0 && n.mergedBase() {
		n = n.asBase()
	}
	if !ok || n.Number != e.Number {
		return Name{}, fmt.Errorf("%w: version %d: diskFileName %.200q is not the name of such a version", ErrManifest, e.Number, e.File)
	}
	return n, nil
}

// Check compares the manifest with the files in the folder.
//
// The error is ErrManifest if a file is missing that the latest version builds
// on, or if there are later versions than the manifest's. Warnings name
// the entries with another size or time than their files, which PVS may take for
// outdated copies, and what else is odd but harmless.
func (m Manifest) Check(listing []File) (warnings []string, err error) {
	files, dir := index(listing)
	listed := map[string]bool{}
	chain := m.chain()
	for _, e := range m.entries {
		listed[fold(e.File)] = true
		f, there := files[fold(e.File)]
		switch {
		case !there && e.Number >= chain && !e.DeleteWhenFree:
			return nil, fmt.Errorf("%w: it lists version %d, %s, but there is no such file", ErrManifest, e.Number, e.File)
		case !there:
			warnings = append(warnings, fmt.Sprintf("the manifest lists version %d, %s, which is no longer needed and gone", e.Number, e.File))
			continue
		}
		if e.Size != f.Size {
			warnings = append(warnings, fmt.Sprintf("the manifest gives %s %s, it has %d bytes", e.File, sizeText(e.Size), f.Size))
		}
		if d := f.Modified.UTC().Sub(e.Modified); d <= -time.Second || d >= time.Second {
			warnings = append(warnings, fmt.Sprintf("the manifest says that %s was last written %s, it was %s", e.File, timeText(e.Modified), timeText(f.Modified)))
		}
	}
	if m.entries[0].Number != m.starting {
		warnings = append(warnings, fmt.Sprintf("the manifest starts at version %d, but the first that it lists is %d", m.starting, m.entries[0].Number))
	}
	for _, v := range dir.versions(m.disk) {
		switch {
		case listed[fold(v.File())] || v.Number < m.starting:
		case v.Number > m.Latest().Number:
			return nil, fmt.Errorf("%w: it ends at version %d, but there is version %d, %s", ErrManifest, m.Latest().Number, v.Number, v.File())
		default:
			warnings = append(warnings, fmt.Sprintf("the manifest does not list %s", v.File()))
		}
	}
	return warnings, nil
}

// index gives the files of a folder by their folded names.
func index(listing []File) (map[string]File, folder) {
	files := make(map[string]File, len(listing))
	names := make([]string, len(listing))
	for i, f := range listing {
		files[fold(f.Name)], names[i] = f, f.Name
	}
	return files, readFolder(names)
}

// chain is the number of the base that the latest version builds on, as far as
// the manifest goes back: one exported from a later version on has none.
func (m Manifest) chain() int {
	for _, e := range slices.Backward(m.entries) {
		if !e.Type.differencing() {
			return e.Number
		}
	}
	return m.entries[0].Number
}

func sizeText(n int64) string {
	if n < 0 {
		return "no size"
	}
	return fmt.Sprintf("%d bytes", n)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "at no known time"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}
