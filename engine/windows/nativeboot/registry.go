package nativeboot

import (
	"encoding/hex"
	"strconv"
	"strings"

	"imageport/engine/windows/hive"
)

// setNumber changes a number that a key has; if it is what it should be, or
// there is none, nothing happens.
func (w *windows) setNumber(path []string, name string, to uint32, why string) error {
	key, err := w.System.Find(path...)
	if err != nil || key == nil {
		return err
	}
	old, _ := key.Value(name)
	n, ok := old.Uint32()
	if !ok || n == to {
		return nil
	}
	if err := w.System.SetValue(path, hive.DWORD(old.Name, to)); err != nil {
		return err
	}
	w.fixed(registry(path, name), strconv.Itoa(int(n)), strconv.Itoa(int(to)), why)
	return nil
}

// deleteKey removes a key, if it is there.
func (w *windows) deleteKey(path []string, why string) error {
	key, err := w.System.Find(path...)
	if err != nil || key == nil {
		return err
	}
	if err := w.System.DeleteKey(path...); err != nil {
		return err
	}
	w.fixed(registry(path), describe(key.Values...), "", why)
	return nil
}

// deleteValue removes a value of a key, if both are there.
func (w *windows) deleteValue(path []string, name, why string) error {
	key, err := w.System.Find(path...)
	if err != nil || key == nil {
		return err
	}
	old, ok := key.Value(name)
	if !ok {
		return nil
	}
	if err := w.System.DeleteValue(path, name); err != nil {
		return err
	}
	w.fixed(registry(path, name), text(old), "", why)
	return nil
}

// registry names a key or value as regedit does.
func registry(path []string, name ...string) string {
	return strings.Join(append(append([]string{"HKLM", "SYSTEM"}, path...), name...), `\`)
}

// describe gives values as text, such as "0=3".
func describe(values ...hive.Value) string {
	if len(values) == 0 {
		return "no values"
	}
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = shorten(v.Name) + "=" + text(v)
	}
	return shorten(strings.Join(list, ", "))
}

// text gives a value's data as text.
func text(v hive.Value) string {
	if n, ok := v.Uint64(); ok {
		return strconv.FormatUint(n, 10)
	}
	if list := v.Strings(); list != nil {
		return shorten(strings.Join(list, ", "))
	}
	return shorten(hex.EncodeToString(v.Data[:min(len(v.Data), maxText)]))
}

// maxText bounds, in characters, what a report repeats of the image.
const maxText = 200

func shorten(s string) string {
	if r := []rune(s); len(r) > maxText {
		return string(r[:maxText]) + "…"
	}
	return s
}
