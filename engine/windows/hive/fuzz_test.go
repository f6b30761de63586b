package hive

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"
)

// FuzzParse takes any bytes as a hive.
func FuzzParse(f *testing.F) {
	f.Add(smallHive(f, 5))
	f.Add(smallHive(f, 3))
	f.Fuzz(func(t *testing.T, b []byte) { exercise(t, b, []byte("some data")) })
}

// FuzzReplay takes any hive and any two logs. Checksums and hashes are made
// right where one can be, so that damage gets past them.
func FuzzReplay(f *testing.F) {
	c := newCrash(f, 3)
	f.Add(c.dirty(), c.log(1, 1), c.log(2, 3), false)
	f.Add(c.dirty(), c.log(1, 3), []byte(nil), true)
	f.Add(c.dirtyOld(2), c.oldLog(2), c.oldLog(1), false)
	f.Add(tornBase(c.dirtyOld(2)), c.oldLog(2), c.log(1, 3), false)
	f.Fuzz(func(t *testing.T, primary, log1, log2 []byte, torn bool) {
		fix := func(b []byte) []byte {
			b = bytes.Clone(b)
			if len(b) < sectorSize {
				return b
			}
			reseal(b)
			for at := sectorSize; at+entryHeaderSize <= len(b); {
				e := b[at:]
				size := int64(le.Uint32(e[4:]))
				if string(e[:4]) != "HvLE" || size < entryHeaderSize || size%4 != 0 || size > int64(len(e)) {
					break
				}
				le.PutUint64(e[24:], marvin32(e[entryHeaderSize:size]))
				le.PutUint64(e[32:], marvin32(e[:32]))
				at += int(size)
			}
			return b
		}
		if !torn && len(primary) >= baseBlockSize {
			primary = reseal(bytes.Clone(primary))
		}
		was := bytes.Clone(primary)
		r, err := Replay(primary, fix(log1), fix(log2))
		if !bytes.Equal(was, primary) {
			t.Fatal("the primary has changed")
		}
		if err != nil {
			if r.Hive != nil || !errors.Is(err, ErrLogUnusable) && !errors.Is(err, ErrNotHive) {
				t.Fatal(err)
			}
			return
		}
		if len(r.Hive) > len(primary)+len(log1)+len(log2) {
			t.Fatalf("%d bytes, from a hive of %d and logs of %d and %d", len(r.Hive), len(primary), len(log1), len(log2))
		}
		if !r.Replayed {
			return
		}
		if parse(t, r.Hive).Dirty() {
			t.Fatal("dirty after the replay")
		}
		_ = root(t, r.Hive)
		if again, err := Replay(r.Hive, fix(log1), fix(log2)); err != nil || again.Replayed {
			t.Fatal("replayed again:", err)
		}
	})
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
	h.AllowGrowth(len(b) + 3*pageSize)
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
		was := bytes.Clone(h.Bytes())
		if err := h.CreateKey(append(slices.Clone(p), "new", "key"), time.Time{}); err == nil {
			if _, err := h.Lookup(append(slices.Clone(p), "new", "key")...); err != nil {
				t.Fatal("after a key was added:", err)
			}
		} else if !bytes.Equal(was, h.Bytes()) {
			t.Fatal("a failed edit changed the hive")
		}
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
	for _, p := range append(paths, []string{"many"}) {
		was := bytes.Clone(h.Bytes())
		if err := h.DeleteKey(p...); err != nil {
			if !bytes.Equal(was, h.Bytes()) {
				t.Fatal("a failed deletion changed the hive")
			}
		} else if _, err := h.Lookup(p...); err == nil {
			t.Fatal("a deleted key is found")
		}
	}
	if len(h.Bytes()) != len(b)+h.Grown() || h.Grown() > 3*pageSize {
		t.Fatalf("the file grew from %d to %d bytes", len(b), len(h.Bytes()))
	}
	if _, err := Parse(h.Bytes()); err != nil {
		t.Fatal("after edits:", err)
	}
}
