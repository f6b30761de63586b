package hive

import (
	"slices"
	"time"
)

// Key flags that mean something outside the running system.
const (
	FlagNoDelete uint16 = 0x08
	FlagSymlink  uint16 = 0x10

	flagVolatile   uint16 = 0x01
	flagHiveEntry  uint16 = 0x04 // the root of a hive
	flagCompressed uint16 = 0x20 // the name is Latin-1
)

// Key is a key in memory with everything below it. Names are compared without
// regard to case, as Windows does. Paths are given as elements, as one string
// with backslashes, or mixed.
type Key struct {
	Name     string
	Class    []byte    // UTF-16LE, without a terminator; rarely used
	Modified time.Time // zero: Build puts BuildOptions.Modified
	Flags    uint16    // without the bits that follow from the name and the place
	Security []byte    // self-relative security descriptor; nil: Build puts DefaultSecurity
	Values   []Value
	Subkeys  []*Key
}

// Key returns the key at path below k, k itself for an empty path, or nil.
func (k *Key) Key(path ...string) *Key {
	for _, name := range splitPath(path) {
		i := k.subkey(name)
		if i < 0 {
			return nil
		}
		k = k.Subkeys[i]
	}
	return k
}

// Create returns the key at path below k, adding what is missing of it. A key
// that is added has the security descriptor of its parent.
func (k *Key) Create(path ...string) *Key {
	for _, name := range splitPath(path) {
		i := k.subkey(name)
		if i < 0 {
			i = len(k.Subkeys)
			k.Subkeys = append(k.Subkeys, &Key{Name: name, Security: k.Security})
		}
		k = k.Subkeys[i]
	}
	return k
}

// DeleteKey removes the subkey of that name with everything below it, and
// reports whether there was one.
func (k *Key) DeleteKey(name string) bool {
	i := k.subkey(name)
	if i < 0 {
		return false
	}
	k.Subkeys = slices.Delete(k.Subkeys, i, i+1)
	return true
}

// Value returns the value of that name.
func (k *Key) Value(name string) (Value, bool) {
	if i := k.value(name); i >= 0 {
		return k.Values[i], true
	}
	return Value{}, false
}

// Set adds the value or replaces the one of the same name, in its place, and
// returns k.
func (k *Key) Set(v Value) *Key {
	if i := k.value(v.Name); i >= 0 {
		k.Values[i] = v
	} else {
		k.Values = append(k.Values, v)
	}
	return k
}

// Delete removes the value of that name, and reports whether there was one.
func (k *Key) Delete(name string) bool {
	i := k.value(name)
	if i < 0 {
		return false
	}
	k.Values = slices.Delete(k.Values, i, i+1)
	return true
}

func (k *Key) subkey(name string) int {
	return slices.IndexFunc(k.Subkeys, func(s *Key) bool { return sameName(s.Name, name) })
}

func (k *Key) value(name string) int {
	return slices.IndexFunc(k.Values, func(v Value) bool { return sameName(v.Name, name) })
}
