package bcd

import (
	"fmt"
	"strconv"
	"strings"

	"imageport/engine/windows/hive"
)

// Codes of warnings.
const (
	WarnLegacyDropped    = "LEGACY_ENTRY_DROPPED" // needs a BIOS
	WarnOtherDisk        = "DEVICE_OTHER_DISK"    // kept as it was
	WarnNoPartition      = "DEVICE_NO_PARTITION"  // kept as it was: names no partition of the disk
	WarnUnknownDevice    = "DEVICE_UNKNOWN"       // kept as it was
	WarnOnESP            = "DEVICE_ON_ESP"        // its files are gone with the old system partition
	WarnPathNotConverted = "PATH_NOT_CONVERTED"   // a program for BIOS that has no known EFI counterpart
)

// Report says what Convert did.
type Report struct {
	Edits    []Edit
	Warnings []Warning
}

// Edit is a change of one element, in readable text; Before or After is empty
// if there was or is no such element.
type Edit struct {
	Object  string `json:"object"`            // as bcdedit names it; "Description" for the store itself
	Element string `json:"element,omitempty"` // likewise; empty if the object itself was dropped
	Before  string `json:"before,omitempty"`
	After   string `json:"after,omitempty"`
}

// Warning is something that the operator should know.
type Warning struct {
	Code    string
	Message string
}

func (r *Report) edit(object, element, before, after string) {
	if before != after {
		r.Edits = append(r.Edits, Edit{object, element, before, after})
	}
}

func (r *Report) warn(code, format string, args ...any) {
	r.Warnings = append(r.Warnings, Warning{code, fmt.Sprintf(format, args...)})
}

// text is an element's value in words, empty if there is no such element.
func (o Object) text(e ElementID) string {
	k := o.key.Key(elementsKey, e.String())
	if k == nil {
		return ""
	}
	v, _ := k.Value(elementValue)
	switch e.Format() {
	case FormatDevice:
		if d, ok := o.Device(e); ok {
			return d.String()
		}
	case FormatString:
		return v.String()
	case FormatObject, FormatObjectList:
		return strings.Join(names(v.Strings()), " ")
	case FormatInteger:
		if n, ok := o.Int(e); ok {
			return strconv.FormatUint(n, 10)
		}
	case FormatBoolean:
		if b, ok := o.Bool(e); ok {
			return strconv.FormatBool(b)
		}
	}
	return fmt.Sprintf("% x", v.Data)
}

func names(ids []string) []string {
	list := make([]string, len(ids))
	for i, s := range ids {
		list[i] = s
		if id, err := parseBraced(s); err == nil {
			list[i] = Name(id)
		}
	}
	return list
}

// descriptionText is a value of the store's description in words.
func descriptionText(k *hive.Key, name string) string {
	v, ok := k.Value(name)
	if !ok {
		return ""
	}
	if n, ok := v.Uint32(); ok {
		return strconv.FormatUint(uint64(n), 10)
	}
	return fmt.Sprintf("% x", v.Data)
}
