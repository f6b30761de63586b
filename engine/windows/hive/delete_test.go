package hive

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// TestDeleteKeys takes a hive with all kinds of lists apart, key by key, and
// compares it with the same on a tree in memory. In the end, all of its space is
// free again.
func TestDeleteKeys(t *testing.T) {
	own := append([]byte{}, defaultSecurity()[:48]...)
	tree := func() *Key {
		k := &Key{Name: "root"}
		for i := range 1100 {
			k.Create("many", fmt.Sprintf("%04d", i)).Set(DWORD("i", uint32(i)))
		}
		deep := k.Create("deep", "a", "b")
		deep.Set(Bytes("big", make([]byte, 40000))).Set(Bytes("v", make([]byte, 100))).Set(SZ("", "default"))
		deep.Class = encodeUTF16("class")
		deep.Create("Ключ").Security = own
		k.Create("one", "StartOverride").Set(DWORD("0", 3))
		k.Create("two", "x").Security = append([]byte{}, own[:40]...)
		return k
	}
	bare := build(t, &Key{Name: "root"}, BuildOptions{Modified: buildTime})
	for _, kind := range []string{"lf", "lh", "li"} {
		k := tree()
		minor := uint32(5)
		if kind == "lf" {
			minor = 3
		}
		src := build(t, k, BuildOptions{Minor: minor, Modified: buildTime})
		if kind == "li" {
			src = plainLists(t, src)
		}
		h := parse(t, src)
		r := rand.New(rand.NewPCG(7, uint64(minor)))
		var paths [][]string
		for _, n := range r.Perm(1100) {
			paths = append(paths, []string{"many", fmt.Sprintf("%04d", n)})
		}
		paths = append(paths, []string{`one\STARTOVERRIDE`}, []string{"deep"}, []string{"two", "x"})
		for i, p := range paths {
			if err := h.DeleteKey(p...); err != nil {
				t.Fatal(kind, p, err)
			}
			names := splitPath(p)
			if !k.Key(names[:len(names)-1]...).DeleteKey(names[len(names)-1]) {
				t.Fatal(p)
			}
			if i%200 == 0 || i > 1097 {
				checkCells(t, h)
				checkSecurity(t, h)
				checkLists(t, h)
			}
			if i == 700 {
				h.Commit(buildTime)
				sameContents(t, kind, contentsOf(root(t, h.Bytes())), contentsOf(k))
				sameContents(t, "hivexml: "+kind, hivexContents(t, h.Bytes()), contentsOf(k))
				if got := len(reglookupPaths(t, h.Bytes())); got != len(contentsOf(k)) {
					t.Errorf("%s: reglookup finds %d keys and values, want %d", kind, got, len(contentsOf(k)))
				}
			}
		}
		if len(h.Bytes()) != len(src) {
			t.Error(kind, "the length of the file has changed")
		}
		sameContents(t, kind, contentsOf(root(t, h.Bytes())), contentsOf(k))
		for _, p := range []string{"many", "one", "two"} {
			if err := h.DeleteKey(p); err != nil {
				t.Fatal(err)
			}
		}
		checkCells(t, h)
		if got, want := cellSignatures(h), cellSignatures(parse(t, bare)); got["nk"] != want["nk"] || got["sk"] != want["sk"] || len(got) != 2 {
			t.Errorf("%s: cells %v are left, want %v", kind, got, want)
		}
		h.AllowGrowth(math.MaxInt)
		if err := h.CreateKey([]string{"new", "key"}, buildTime); err != nil { // it is a hive like any other
			t.Fatal(err)
		}
		checkLists(t, h)
	}
}

// TestDeleteInRealHives deletes services of real hives, with their parameters.
func TestDeleteInRealHives(t *testing.T) {
	src := cleanSystemHive(t)
	h := parse(t, src)
	want := root(t, src)
	services := want.Key("ControlSet001", "Services")
	for i, s := range append([]*Key{}, services.Subkeys...) {
		if i%3 != 0 {
			continue
		}
		if err := h.DeleteKey("ControlSet001", "Services", s.Name); err != nil {
			t.Fatal(s.Name, err)
		}
		services.DeleteKey(s.Name)
	}
	h.Commit(buildTime)
	checkCells(t, h)
	sameContents(t, "ours", contentsOf(root(t, h.Bytes())), contentsOf(want))
	sameContents(t, "hivexml", hivexContents(t, h.Bytes()), hivexNames(contentsOf(want), hivexContents(t, src)))
}

// hivexNames is want as far as hivexml tells what is in a hive: it leaves some
// names out.
func hivexNames(want, told contents) contents {
	c := contents{}
	for path := range want {
		if text, ok := told[path]; ok {
			c[path] = text
		}
	}
	return c
}

func TestDeleteKeyRefuses(t *testing.T) {
	k := &Key{Name: "root"}
	k.Create("a", "b").Set(Bytes("v", make([]byte, 12)))
	k.Create("c").Security = append([]byte{}, defaultSecurity()[:48]...)
	src := build(t, k, BuildOptions{})
	damaged := func(change func(h *Hive)) []byte {
		h := parse(t, src)
		change(h)
		return h.Bytes()
	}
	for _, tt := range []struct {
		what string
		b    []byte
		path []string
		want error
	}{
		{"the root", src, nil, errAny},
		{"no such key", src, []string{"a", "x"}, ErrNotFound},
		{"no such parent", src, []string{"x", "b"}, ErrNotFound},
		{"dirty", reseal(append(append(bytes.Clone(src[:4]), src[4]+1), src[5:]...)), []string{"a"}, ErrDirty},
		{"security with too few references", damaged(func(h *Hive) {
			le.PutUint32(h.bins[le.Uint32(h.bins[cellOf(t, h, "a")+4+44:])+4+12:], 1)
		}), []string{"a"}, ErrCorrupt},
		{"security out of its ring", damaged(func(h *Hive) {
			le.PutUint32(h.bins[le.Uint32(h.bins[cellOf(t, h, "c")+4+44:])+4+4:], cellOf(t, h, "c"))
		}), []string{"c"}, ErrCorrupt},
		{"the values of its parent", damaged(func(h *Hive) {
			from, to := cellOf(t, h, "a", "b"), cellOf(t, h, "a")
			copy(h.bins[to+4+36:to+4+44], h.bins[from+4+36:])
		}), []string{"a", "b"}, ErrCorrupt},
		{"its own subkey", damaged(func(h *Hive) {
			a := cellOf(t, h, "a")
			le.PutUint32(h.bins[le.Uint32(h.bins[a+4+28:])+4+4:], a)
		}), []string{"a"}, ErrCorrupt},
	} {
		h := parse(t, tt.b)
		err := h.DeleteKey(tt.path...)
		if err == nil || tt.want != errAny && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, err, tt.want)
		}
		if !bytes.Equal(h.Bytes(), tt.b) {
			t.Errorf("%s: the hive has changed", tt.what)
		}
	}
}
