package hive

import (
	"bytes"
	"testing"
)

// FuzzParse takes any bytes as a hive.
func FuzzParse(f *testing.F) {
	f.Add(smallHive(f, 5))
	f.Add(smallHive(f, 3))
	f.Fuzz(func(t *testing.T, b []byte) { exercise(t, b, []byte("some data")) })
}

// FuzzDamage puts 16-bit numbers into hives that are sound, and edits them with
// data. A patch is an offset in units of 2 bytes and the number.
func FuzzDamage(f *testing.F) {
	hives := [][]byte{smallHive(f, 5), smallHive(f, 3), store(f, "BCDTest"), store(f, "win8-bios.BCD")}
	f.Add(uint8(0), []byte{0, 0, 0, 0}, make([]byte, 24))
	for i, b := range hives {
		h := parse(f, b)
		for off := uint32(0); off < uint32(len(h.bins)); off += 8 {
			if h.used.get(off / 8) {
				at := (off + baseBlockSize + 4) / 2
				f.Add(uint8(i), []byte{byte(at), byte(at >> 8), byte(off), 0}, make([]byte, off%100))
			}
			off += off / 4 // a few from everywhere
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, patches, data []byte) {
		b := bytes.Clone(hives[int(which)%len(hives)])
		for ; len(patches) >= 4; patches = patches[4:] {
			at := 2 * int(le.Uint16(patches))
			if at+2 <= len(b) {
				copy(b[at:at+2], patches[2:4])
			}
		}
		exercise(t, b, data)
	})
}

func smallHive(f *testing.F, minor uint32) []byte {
	k := &Key{Name: "root", Class: []byte("cl")}
	k.Create("a", "b").Set(Bytes("v", make([]byte, 20))).Set(DWORD("n", 1))
	k.Create("c").Set(Bytes("big", make([]byte, bigData+1)))
	for i := range 3 {
		k.Create("many", string(rune('a'+i)))
	}
	return build(f, k, BuildOptions{Minor: minor, FreeBytes: 200})
}

// exercise reads all of a hive and edits it: nothing may panic, and what an
// edit writes must be there afterwards.
func exercise(t *testing.T, b, data []byte) {
	if len(b) > baseBlockSize { // so that damage gets past the first look
		b = bytes.Clone(b)
		copy(b[8:12], b[4:8])
		le.PutUint32(b[checksumAt:], checksum(b))
	}
	h, err := Parse(b)
	if err != nil {
		return
	}
	paths := [][]string{nil, {"a", "b"}, {"c"}}
	names := []string{"v", "new", "big"}
	if tree, err := h.Root(); err == nil {
		if built, err := Build(tree, BuildOptions{Minor: 5}); err == nil {
			sameContents(t, "rebuilt", contentsOf(root(t, built)), contentsOf(tree))
		}
		for _, s := range tree.Subkeys[:min(2, len(tree.Subkeys))] {
			paths = append(paths, []string{s.Name})
			for _, v := range s.Values[:min(2, len(s.Values))] {
				names = append(names, v.Name)
			}
		}
	}
	for _, p := range paths {
		if _, err := h.Lookup(p...); err != nil {
			continue
		}
		_, _ = h.SubkeyNames(p...)
		for _, name := range names {
			was := bytes.Clone(h.Bytes())
			if err := h.SetValue(p, Bytes(name, data)); err != nil {
				if !bytes.Equal(was, h.Bytes()) {
					t.Fatal("a failed edit changed the hive")
				}
				continue
			}
			k, err := h.Lookup(p...)
			if err != nil {
				t.Fatal("after an edit:", err)
			}
			if v, ok := k.Value(name); !ok || !bytes.Equal(v.Data, data) {
				t.Fatalf("%q is % x, want % x", name, v.Data, data)
			}
			_ = h.DeleteValue(p, name)
		}
	}
	if _, err := Parse(h.Bytes()); err != nil {
		t.Fatal("after edits:", err)
	}
}
