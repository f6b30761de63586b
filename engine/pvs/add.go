package pvs

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// AddVersion gives the manifest of a vDisk with a version added.
//
// old is the manifest that there is, nil if there is none; listing has all files
// of the folder, and whether the output is among them makes no difference. output
// is the version's file, a differencing disk. The error is ErrManifest if old
// cannot take the version, or ErrName. Manifest.Check has the warnings.
//
// The version is of type Manual and in maintenance: Invoke-PvsPromoteDiskVersion
// with -Test promotes the version in maintenance, and nothing else, so that one
// added as production would be booted by every target at once, without a test.
func AddVersion(old []byte, listing []File, output File) ([]byte, error) {
	name, ok := ParseName(output.Name)
	if !ok || !name.Differencing {
		return nil, fmt.Errorf("%w: %q is not the name of a differencing disk of a version, such as x.3.avhdx", ErrName, output.Name)
	}
	others := make([]File, 0, len(listing))
	for _, f := range listing {
		if fold(f.Name) != fold(output.Name) {
			others = append(others, f)
		}
	}
	var m Manifest
	var err error
	if old != nil {
		m, err = ParseManifest(old)
	} else {
		m, err = NewManifest(name.Disk, name.Container, others)
	}
	if err != nil {
		return nil, err
	}
	if fold(m.Disk()) != fold(name.Disk) {
		return nil, fmt.Errorf("%w: it lists versions of %s, not of %s", ErrManifest, m.Disk(), name.Disk)
	}
	if _, err := m.Check(others); err != nil {
		return nil, err
	}
	m, err = m.Add(Entry{
		Number:      name.Number,
		Description: "Converted to UEFI by imageport",
		Type:        Manual,
		Access:      Maintenance,
		// PVS minds a file that was created after it was written.
		Created:  output.Modified,
		File:     output.Name,
		Size:     output.Size,
		Modified: output.Modified,
	})
	if err != nil {
		return nil, err
	}
	return m.Encode(), nil
}

// Add gives the manifest with one more version at its end, written as the others
// are. The version must be later than all, and the latest so far not be in
// maintenance nor being merged: PVS has one version in maintenance at a time. The
// error is ErrManifest.
func (m Manifest) Add(e Entry) (Manifest, error) {
	latest := m.Latest()
	if e.Number <= latest.Number {
		return Manifest{}, fmt.Errorf("%w: it lists version %d already, so that version %d cannot come next", ErrManifest, latest.Number, e.Number)
	}
	switch latest.Access {
	case Maintenance, MaintenanceHighest, Merging, MergingToMaintenance, MergingToTest:
		return Manifest{}, fmt.Errorf("%w: it has version %d in %s, after which there can be no other: promote or delete that in PVS first", ErrManifest, latest.Number, latest.Access)
	}
	var b strings.Builder
	if l := m.layout; l.descending {
		b.WriteString(m.text[:l.first])
		l.write(&b, e)
		b.WriteString(l.lead + m.text[l.first:])
	} else {
		b.WriteString(m.text[:l.end] + l.lead)
		l.write(&b, e)
		b.WriteString(m.text[l.end:])
	}
	return parseText(b.String(), m.encoding)
}

// NewManifest lists the versions of a vDisk in a folder, for one that has no
// manifest. It starts at the first base, and all versions are in production. A
// differencing disk counts as Manual, although PVS may have made it itself. Files
// in another container, such as the VHD that a VHDX was made from, are no part of
// the vDisk. The error is ErrManifest.
//
// A listing has no creation times: each file counts as created when it was last
// written, because PVS wants it to be no later.
func NewManifest(disk string, container Container, listing []File) (Manifest, error) {
	files, dir := index(listing)
	l := layout{lead: "\r\n  ", indent: "\r\n    ", tail: "\r\n  ", created: timeFormats[0], modified: timeFormats[0]}
	var b strings.Builder
	started := false
	for _, v := range dir.versions(disk) {
		if v.Container != container || !started && v.Differencing { // of a base that is gone
			continue
		}
		if !started {
			fmt.Fprintf(&b, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<%s>\r\n  <%s>%d</%[2]s>", rootElement, startingElement, v.Number)
			started = true
		}
		f := files[fold(v.File())]
		e := Entry{Number: v.Number, Type: Manual, Access: Production, Created: f.Modified, File: f.Name, Size: f.Size, Modified: f.Modified}
		switch {
		case v.Differencing:
		case v.Number == 0:
			e.Type = Base
		default:
			e.Type = MergeBase
		}
		b.WriteString(l.lead)
		l.write(&b, e)
	}
	if !started {
		return Manifest{}, fmt.Errorf("%w: none can be made for %s, of which there is no base", ErrManifest, disk)
	}
	b.WriteString("\r\n</" + rootElement + ">\r\n")
	return parseText(b.String(), encoding{})
}

// write writes a version, in the order of fieldElements.
func (l layout) write(b *strings.Builder, e Entry) {
	values := []string{
		strconv.Itoa(e.Number),
		e.Description,
		strconv.Itoa(int(e.Type)),
		strconv.Itoa(int(e.Access)),
		formatTime(e.Created, l.created),
		"", // at once
		"0",
		e.File,
		"",
		formatTime(e.Modified, l.modified),
	}
	if e.DeleteWhenFree {
		values[6] = "1"
	}
	if e.Size >= 0 {
		values[8] = strconv.FormatInt(e.Size, 10)
	}
	b.WriteString("<" + versionElement + ">")
	for i, name := range fieldElements {
		b.WriteString(l.indent + "<" + name + ">")
		// A strings.Builder does not fail.
		_ = xml.EscapeText(b, []byte(values[i]))
		b.WriteString("</" + name + ">")
	}
	b.WriteString(l.tail + "</" + versionElement + ">")
}

// formatTime is the inverse of reading a time: an unknown one is left out.
func formatTime(t time.Time, format string) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(format)
}
