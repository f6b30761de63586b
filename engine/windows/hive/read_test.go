package hive

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

var stores = []string{"BCDTest", "BCDgen", "win8-bios.BCD", "win8-uefi.BCD", "win10-uefi.BCD"}

func store(t testing.TB, name string) []byte { return corpus(t, "../bcd/testdata/"+name) }

func parse(t testing.TB, b []byte) *Hive {
	t.Helper()
	h, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func root(t testing.TB, b []byte) *Key {
	t.Helper()
	k, err := parse(t, b).Root()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestReadWhatLibhivexReads(t *testing.T) {
	for _, name := range stores {
		b := store(t, name)
		if parse(t, b).Dirty() {
			t.Errorf("%s: dirty", name)
		}
		sameContents(t, name, contentsOf(root(t, b)), hivexContents(t, b))
	}
}

func TestReadSystemHive(t *testing.T) {
	b := systemHive(t)
	h := parse(t, b)
	if !h.Dirty() {
		t.Error("a hive with sequence numbers 0x10dd and 0x10dc is not dirty")
	}
	start := time.Now()
	k, err := h.Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Log("whole tree read in", time.Since(start))
	sameContents(t, "SYSTEM", contentsOf(k), hivexContents(t, b))

	start = time.Now()
	m, err := h.Lookup("mounteddevices")
	if err != nil {
		t.Fatal(err)
	}
	t.Log("one key read in", time.Since(start))
	v, ok := m.Value(`\dosdevices\c:`)
	if want := []byte("\xaeFE\xdf\x00\x00P\x1f\x00\x00\x00\x00"); !ok || v.Type != Binary || !bytes.Equal(v.Data, want) {
		t.Errorf("C: is % x, want % x", v.Data, want)
	}
	if len(m.Values) != 8 || m.Subkeys != nil || m.Name != "MountedDevices" {
		t.Errorf("%s has %d values and %d subkeys", m.Name, len(m.Values), len(m.Subkeys))
	}
	names, err := h.SubkeyNames()
	if err != nil || !slices.Contains(names, "ControlSet001") || !slices.Contains(names, "Select") {
		t.Error(names, err)
	}
	current, err := h.Lookup("Select")
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := current.Value("Current"); len(v.Data) != 4 {
		t.Error(v)
	}
	name, err := h.Lookup(`ControlSet001\Control`, "ComputerName", "ComputerName")
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := name.Value("ComputerName"); v.String() == "" || v.Type != String {
		t.Error(v)
	}
	if _, err := h.Lookup("ControlSet001", "no such key"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// TestNamesSortAndHashAsInWindows checks our upper-casing against every subkey
// list of a real hive.
func TestNamesSortAndHashAsInWindows(t *testing.T) {
	h := parse(t, systemHive(t))
	hashes, pairs := 0, 0
	for off := uint32(0); off < uint32(len(h.bins)); off += 8 {
		if !h.used.get(off / 8) {
			continue
		}
		c, err := h.cell(off, "nk", keyNodeSize)
		if err != nil {
			continue
		}
		last := ""
		for i, sub := range mustSubkeys(t, h, keyNode{off, c}) {
			n, err := h.keyNode(sub)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				pairs++
				if compareNames(last, n.name()) >= 0 {
					t.Errorf("%q sorts before %q in the hive", last, n.name())
				}
			}
			last = n.name()
		}
		list := le.Uint32(c[28:])
		if le.Uint32(c[20:]) == 0 {
			continue
		}
		l, err := h.cell(list, "lh", 4)
		if err != nil {
			continue
		}
		for i := range int(le.Uint16(l[2:])) {
			n, err := h.keyNode(le.Uint32(l[4+8*i:]))
			if err != nil {
				t.Fatal(err)
			}
			hashes++
			if got, want := nameHash(n.name()), le.Uint32(l[8+8*i:]); got != want {
				t.Errorf("hash of %q is %#x, want %#x", n.name(), got, want)
			}
		}
	}
	if hashes < 10000 || pairs < 10000 {
		t.Errorf("only %d hashes and %d pairs", hashes, pairs)
	}
}

func mustSubkeys(t *testing.T, h *Hive, n keyNode) []uint32 {
	t.Helper()
	list, err := h.newReading().subkeys(n)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestParseRefuses(t *testing.T) {
	valid := store(t, "win8-bios.BCD")
	reseal := func(b []byte) []byte {
		le.PutUint32(b[checksumAt:], checksum(b))
		return b
	}
	change := func(at int, n uint32) []byte {
		b := bytes.Clone(valid)
		le.PutUint32(b[at:], n)
		return reseal(b)
	}
	tests := []struct {
		what string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrNotHive},
		{"another file", bytes.Repeat([]byte("NTFS"), 4096), ErrNotHive},
		{"version 1.2", change(24, 2), ErrNotHive},
		{"version 2.5", change(20, 2), ErrNotHive},
		{"a transaction log", change(28, 6), ErrNotHive},
		{"cut off", valid[:len(valid)-4096], ErrCorrupt},
		{"no bins", change(40, 0), ErrCorrupt},
		{"bins of 2 GiB", change(40, 1<<31), ErrCorrupt},
		{"odd bins", change(40, 0x7001), ErrCorrupt},
		{"no bin", change(4096, 0), ErrCorrupt},
		{"bin of 4 GiB", change(4096+8, 0xfffff000), ErrCorrupt},
		{"cell of 0 bytes", change(4096+32, 0), ErrCorrupt},
		{"cell beyond its bin", change(4096+32, 0x80000000), ErrCorrupt},
		{"cut off while dirty", func() []byte {
			b := bytes.Clone(valid[:len(valid)-4096])
			b[4]++
			return reseal(b)
		}(), ErrDirty},
	}
	for _, tt := range tests {
		if _, err := Parse(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, err, tt.want)
		}
	}
	for _, at := range []int{4, checksumAt} {
		b := bytes.Clone(valid)
		b[at]++
		if at != checksumAt {
			reseal(b)
		}
		h := parse(t, b)
		if !h.Dirty() {
			t.Errorf("byte %d changed: not dirty", at)
		}
		if err := h.SetValue(nil, DWORD("x", 1)); !errors.Is(err, ErrDirty) {
			t.Errorf("byte %d changed: SetValue: %v", at, err)
		}
		if h.Commit(time.Time{}); !bytes.Equal(h.Bytes(), b) {
			t.Errorf("byte %d changed: Commit changes a dirty hive", at)
		}
	}
}

// cellOf finds the offset of a key's cell.
func cellOf(t *testing.T, h *Hive, path ...string) uint32 {
	t.Helper()
	n, err := h.newReading().open(path)
	if err != nil {
		t.Fatal(err)
	}
	return n.off
}

func TestRootRefuses(t *testing.T) {
	deep := &Key{Name: "root"}
	deep.Create("a", "b").Set(Bytes("data", make([]byte, 100)))
	deep.Create("c")
	valid, err := Build(deep, BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h := parse(t, valid)
	field := func(at uint32, n uint32, path ...string) func([]byte) {
		off := baseBlockSize + 4 + cellOf(t, h, path...) + at
		return func(b []byte) { le.PutUint32(b[off:], n) }
	}
	list := le.Uint32(h.bins[cellOf(t, h)+4+28:])
	tests := []struct {
		what   string
		want   string
		damage func([]byte)
	}{
		{"root is not a key", "root key", func(b []byte) { le.PutUint32(b[36:], list) }},
		{"root outside", "root key", func(b []byte) { le.PutUint32(b[36:], 0xfffffff8) }},
		{"subkey list outside", "no allocated cell", field(28, 0x7ffffff8)},
		{"subkey list within a cell", "no allocated cell", field(28, list+8)},
		{"more subkeys than in the list", "key \"root\" has 3", field(20, 3)},
		{"four milliard subkeys", "has 4294967295", field(20, 0xffffffff)},
		{"its own grandchild", "", field(28, list, "a", "b")},
		{"cycle", "more than once", func(b []byte) {
			field(20, 2, "a", "b")(b)
			field(28, list, "a", "b")(b)
		}},
		{"name longer than its cell", "name of 65535 bytes", field(72, 0xffff, "a")},
		{"class name outside", "class", field(72, 1<<16|1, "a")},
		{"a milliard values", "values", field(36, 1<<30, "a", "b")},
		{"security is not security", "security", field(44, list, "c")},
	}
	for _, tt := range tests {
		b := bytes.Clone(valid)
		tt.damage(b)
		le.PutUint32(b[checksumAt:], checksum(b))
		h, err := Parse(b)
		if err != nil {
			t.Fatal(tt.what, err)
		}
		_, err = h.Root()
		if tt.what == "its own grandchild" { // no subkeys: the list is not looked at
			if err != nil {
				t.Error(tt.what, err)
			}
			continue
		}
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want one about %q", tt.what, err, tt.want)
		}
	}
}
