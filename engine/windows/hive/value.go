package hive

import "strings"

// Registry value types (winnt.h REG_*).
const (
	None           uint32 = 0
	String         uint32 = 1 // REG_SZ
	ExpandString   uint32 = 2 // REG_EXPAND_SZ
	Binary         uint32 = 3
	DWord          uint32 = 4
	DWordBigEndian uint32 = 5
	Link           uint32 = 6
	MultiString    uint32 = 7 // REG_MULTI_SZ
	QWord          uint32 = 11
)

// Value is one value of a key. The default value has the empty name. Data is as
// stored: text is UTF-16LE with its terminating NUL.
type Value struct {
	Name string
	Type uint32
	Data []byte
}

// SZ is a string value.
func SZ(name, s string) Value { return Value{name, String, encodeUTF16(s + "\x00")} }

// ExpandSZ is a string value with %variables% in it.
func ExpandSZ(name, s string) Value { return Value{name, ExpandString, encodeUTF16(s + "\x00")} }

// MultiSZ is a list of strings, none of which may be empty.
func MultiSZ(name string, list ...string) Value {
	var b strings.Builder
	for _, s := range list {
		b.WriteString(s)
		b.WriteByte(0)
	}
	b.WriteByte(0)
	return Value{name, MultiString, encodeUTF16(b.String())}
}

// DWORD is a 32-bit number.
func DWORD(name string, n uint32) Value { return Value{name, DWord, le.AppendUint32(nil, n)} }

// QWORD is a 64-bit number.
func QWORD(name string, n uint64) Value { return Value{name, QWord, le.AppendUint64(nil, n)} }

// Bytes is a binary value.
func Bytes(name string, data []byte) Value { return Value{name, Binary, data} }

// String is the text of a String, ExpandString or Link value up to its first
// NUL, and empty for a value of another type.
func (v Value) String() string {
	switch v.Type {
	case String, ExpandString, Link:
		s, _, _ := strings.Cut(decodeUTF16(v.Data), "\x00")
		return s
	}
	return ""
}

// Strings is the list in a MultiString value, without the empty strings at its
// end; a value of another textual type is a list of one. Nil for other types.
func (v Value) Strings() []string {
	if v.Type != MultiString {
		if s := v.String(); s != "" {
			return []string{s}
		}
		return nil
	}
	text := strings.TrimRight(decodeUTF16(v.Data), "\x00")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\x00")
}

// Uint32 is the number in a DWord value; false if it is not one.
func (v Value) Uint32() (uint32, bool) {
	if v.Type != DWord || len(v.Data) != 4 {
		return 0, false
	}
	return le.Uint32(v.Data), true
}

// Uint64 is the number in a QWord or DWord value; false if it is neither.
func (v Value) Uint64() (uint64, bool) {
	if v.Type == QWord && len(v.Data) == 8 {
		return le.Uint64(v.Data), true
	}
	n, ok := v.Uint32()
	return uint64(n), ok
}
