package hive

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// withSlack is a hive in a file that is longer than its bins say, with something
// left there.
func withSlack(b []byte, n int) []byte {
	return append(bytes.Clone(b), bytes.Repeat([]byte{0xa5}, n)...)
}

func TestGrow(t *testing.T) {
	k := &Key{Name: "root"}
	k.Create("full").Set(Bytes("v", make([]byte, 12)))
	src := build(t, k, BuildOptions{Modified: buildTime})
	n := len(src)
	tests := []struct {
		what  string
		slack int
		limit int
		data  int
		grown int // of the file; -1: refused
		bins  int // added, in pages
	}{
		{"not allowed", 0, 0, 8000, -1, 0},
		{"not allowed, though there is slack", 16384, 0, 8000, -1, 0},
		{"into the slack", 16384, n + 16384, 8000, 0, 2},
		{"all of the slack", 8192, n + 8192, 8192 - 32 - 4, 0, 2},
		{"more than the slack", 8192, n + 8192, 8192 - 32, -1, 0},
		{"beyond the slack", 4096, math.MaxInt, 8000, 4096, 2},
		{"of the file", 0, n + 8192, 8000, 8192, 2},
		{"not so far", 0, n + 8191, 8000, -1, 0},
		{"segments", 4096, math.MaxInt, 50000, 49152 - 4096, 12},
		{"only the first segments fit", 32768, n + 32768, 50000, -1, 0},
		{"no need", 4096, math.MaxInt, 100, 0, 0},
	}
	for _, tt := range tests {
		file := withSlack(src, tt.slack)
		h := parse(t, file)
		h.AllowGrowth(tt.limit)
		v := Bytes("v", bytes.Repeat([]byte{7}, tt.data))
		err := h.SetValue([]string{"full"}, v)
		if tt.grown < 0 {
			if !errors.Is(err, ErrNoSpace) || !bytes.Equal(h.Bytes(), file) || h.Grown() != 0 {
				t.Errorf("%s: %v, or the hive has changed", tt.what, err)
			}
			// Nothing is left of the attempt.
			if err := h.SetValue([]string{"full"}, DWORD("v", 1)); err != nil {
				t.Errorf("%s: %v", tt.what, err)
			}
			checkCells(t, h)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.what, err)
			continue
		}
		b := h.Bytes()
		if h.Grown() != tt.grown || len(b) != len(file)+tt.grown {
			t.Errorf("%s: the file grows by %d from %d to %d, want by %d", tt.what, h.Grown(), len(file), len(b), tt.grown)
		}
		if got := (len(h.bins) - (n - baseBlockSize)) / pageSize; got != tt.bins {
			t.Errorf("%s: %d pages of bins more, want %d", tt.what, got, tt.bins)
		}
		h.Commit(buildTime)
		checkCells(t, h)
		want := root(t, src)
		want.Key("full").Set(v)
		sameContents(t, tt.what, contentsOf(root(t, h.Bytes())), contentsOf(want))
		sameContents(t, "hivexml: "+tt.what, hivexContents(t, h.Bytes()), contentsOf(want))
		if got := len(reglookupPaths(t, h.Bytes())); got != len(contentsOf(want)) {
			t.Errorf("%s: reglookup finds %d keys and values", tt.what, got)
		}
	}
}

// TestRandomGrowth is a long series of keys and values added to a hive that
// grows, compared with the same on a tree in memory.
func TestRandomGrowth(t *testing.T) {
	for _, minor := range []uint32{3, 5} {
		r := rand.New(rand.NewPCG(5, uint64(minor)))
		k := &Key{Name: "root"}
		k.Create("many", "0500").Set(DWORD("i", 500))
		k.Create("secret").Security = append([]byte{}, defaultSecurity()[:48]...)
		src := build(t, k, BuildOptions{Minor: minor, Modified: buildTime})
		h := parse(t, src)
		h.AllowGrowth(math.MaxInt)
		names := r.Perm(1500)
		for i, n := range names {
			path := []string{"many", fmt.Sprintf("%04d", n)}
			switch i % 100 {
			case 0:
				path = []string{"secret", "Ключ", fmt.Sprint("deep ", i)}
			case 1:
				path = []string{fmt.Sprint("top ", i)}
			}
			if err := h.CreateKey(path, buildTime); err != nil {
				t.Fatal(i, err)
			}
			k.Create(path...)
			v := Bytes("v", make([]byte, r.IntN(60)))
			if i%200 == 0 {
				v.Data = make([]byte, 20000)
			}
			if err := h.SetValue(path, v); err != nil {
				t.Fatal(i, err)
			}
			k.Key(path...).Set(v)
			if i%250 == 0 {
				checkCells(t, h)
			}
		}
		h.Commit(buildTime)
		b := h.Bytes()
		t.Logf("1.%d: %d bytes become %d; built anew they are %d", minor, len(src), len(b), len(build(t, k, BuildOptions{Minor: minor})))
		if h.Grown() != len(b)-len(src) || h.Grown() == 0 {
			t.Error("grown", h.Grown())
		}
		checkCells(t, h)
		checkSecurity(t, h)
		checkLists(t, h)
		if got, want := root(t, b), expect(k, BuildOptions{Modified: buildTime}, true); !reflect.DeepEqual(got, want) {
			t.Errorf("1.%d: the tree differs", minor)
			sameContents(t, "tree", contentsOf(got), contentsOf(want))
		}
		if s := cellSignatures(h); s["ri"] != 1 {
			t.Errorf("cells %v, want one index", s)
		}
		sameContents(t, "hivexml", hivexContents(t, b), contentsOf(k))
		if got := len(reglookupPaths(t, b)); got != len(contentsOf(k)) {
			t.Errorf("reglookup finds %d keys and values", got)
		}
		for _, n := range []int{names[7], names[702]} { // found by hash or hint, or not at all
			out := command(t, strings.NewReader(fmt.Sprintf("cd \\many\\%04d\nlsval\nclose\n", n)), "hivexsh", tempFile(t, b))
			if !strings.Contains(string(out), `"v"=`) {
				t.Errorf("hivexsh prints %q", out)
			}
		}
	}
}

// checkLists checks the order of the subkeys of all keys, and what lists say of
// their names.
func checkLists(t *testing.T, h *Hive) {
	t.Helper()
	for off := uint32(0); off < uint32(len(h.bins)); off += 8 {
		if !h.used.get(off / 8) {
			continue
		}
		if c, err := h.cell(off, "nk", keyNodeSize); err == nil {
			last := ""
			for _, sub := range mustSubkeys(t, h, keyNode{off, c}) {
				n, err := h.keyNode(sub)
				if err != nil {
					t.Fatal(err)
				}
				if last != "" && compareNames(last, n.name()) >= 0 {
					t.Errorf("%q comes before %q", last, n.name())
				}
				if last = n.name(); le.Uint32(n.c[16:]) != off || le.Uint32(c[52:])&0xffff < uint32(2*utf16Len(last)) {
					t.Errorf("%q: parent %#x, its cell %#x; longest name %d", last, le.Uint32(n.c[16:]), off, le.Uint32(c[52:]))
				}
			}
		}
		l, err := h.subkeyList(off)
		if err != nil || l.kind == listIndex {
			continue
		}
		if l.count() > maxList {
			t.Errorf("list of %d keys", l.count())
		}
		var want []byte
		for i := range l.count() {
			n, err := h.keyNode(l.cell(i))
			if err != nil {
				t.Fatal(err)
			}
			want = appendListEntry(want, l.kind, n.off, n.name())
		}
		if !bytes.Equal(want, l.entries) {
			t.Errorf("%s at %#x: entries are % x, want % x", l.kind, off, l.entries, want)
		}
	}
}

// plainLists makes the leaves of a hive lists without hashes, as some versions
// of Windows write them.
func plainLists(t *testing.T, b []byte) []byte {
	t.Helper()
	h := parse(t, b)
	for off := uint32(0); off < uint32(len(h.bins)); off += 8 {
		if !h.used.get(off / 8) {
			continue
		}
		l, err := h.subkeyList(off)
		if err != nil || l.kind == listIndex {
			continue
		}
		var entries []byte
		for i := range l.count() {
			entries = le.AppendUint32(entries, l.cell(i))
		}
		copy(h.bins[off+4:], newList(listPlain, entries))
	}
	return h.Bytes()
}

func TestAllKindsOfLists(t *testing.T) {
	k := &Key{Name: "root"}
	for i := range 1100 {
		k.Create("many", fmt.Sprintf("%04d", 2*i)).Set(DWORD("i", uint32(i)))
	}
	k.Create("few", "b")
	k.Create("few", "d")
	fast := build(t, k, BuildOptions{Minor: 3, Modified: buildTime})
	hashed := build(t, k, BuildOptions{Minor: 5, Modified: buildTime})
	for kind, b := range map[string][]byte{
		"lf": fast, "lh": hashed, "li": plainLists(t, hashed), "lf in 1.5": func() []byte {
			b := bytes.Clone(fast)
			b[24] = 5
			return reseal(b)
		}(),
	} {
		want := contentsOf(k)
		sameContents(t, kind, contentsOf(root(t, b)), want)
		sameContents(t, "hivexml: "+kind, hivexContents(t, b), want)

		h := parse(t, b)
		h.AllowGrowth(math.MaxInt)
		for _, name := range []string{"", "!", "0001", "2199", "zzzz", "0000a", "1013", "1015"} {
			for _, parent := range []string{"many", "few"} {
				if err := h.CreateKey([]string{parent, name}, buildTime); err != nil {
					t.Fatal(kind, err)
				}
				want[`\`+parent+`\`+name+`\`] = "key"
			}
		}
		delete(want, `\many\\`)
		delete(want, `\few\\`)
		h.Commit(buildTime)
		checkLists(t, h)
		for s, n := range cellSignatures(h) {
			if slices.Contains([]string{listFast, listHash, listPlain}, s) && s != kind[:2] {
				t.Errorf("%d lists of kind %s in a hive with %s", n, s, kind)
			}
		}
		sameContents(t, kind, contentsOf(root(t, h.Bytes())), want)
		sameContents(t, "hivexml: "+kind, hivexContents(t, h.Bytes()), want)
	}
}

// TestCreateInRealHives adds a service, and a key to every key of a real hive
// that has subkeys, up to some number.
func TestCreateInRealHives(t *testing.T) {
	primary, log1, log2 := dirtyHive(t, "dirty.NTUSER")
	recovered := replay(t, primary, log1, log2).Hive
	h := parse(t, recovered)
	h.AllowGrowth(len(recovered))
	want := contentsOf(root(t, recovered))
	added := 0
	for path := range want {
		if !strings.HasSuffix(path, `\`) || added == 300 {
			continue
		}
		if err := h.CreateKey([]string{path, "imageport 1", "x"}, buildTime); err != nil {
			t.Fatal(path, err)
		}
		added++
	}
	h.Commit(buildTime)
	if h.Grown() != 0 || len(h.Bytes()) != len(recovered) {
		t.Error("the file grows, although there is room in it")
	}
	checkCells(t, h)
	checkSecurity(t, h)
	got := contentsOf(root(t, h.Bytes()))
	for path, content := range want {
		if got[path] != content {
			t.Errorf("%s has changed", path)
		}
	}
	if len(got) != len(want)+2*added {
		t.Errorf("%d keys and values, before %d, and %d were added", len(got), len(want), 2*added)
	}
	sameContents(t, "hivexml", hivexContents(t, h.Bytes()), got)
}

func TestCreateKeyRefuses(t *testing.T) {
	k := &Key{Name: "root"}
	k.Create("a").Set(Bytes("v", make([]byte, 12)))
	src := build(t, k, BuildOptions{})
	var deep []string
	for range maxDepth - 1 {
		deep = append(deep, "d")
	}
	room := 0 // keys that fit in the hive as it is
	for h := parse(t, src); h.CreateKey(deep[:room+1], buildTime) == nil; room++ {
	}
	dirty := bytes.Clone(src)
	dirty[4]++
	tests := []struct {
		what string
		b    []byte
		path []string
		want error // nil: succeeds
	}{
		{"there already", src, []string{"A"}, nil},
		{"the root", src, nil, nil},
		{"as deep as can be", withSlack(src, 1<<20), deep, nil},
		{"too deep", withSlack(src, 1<<20), append(deep, "d"), errAny},
		{"long name", src, []string{"a", strings.Repeat("x", maxKeyName+1)}, errAny},
		{"longest name", src, []string{"a", strings.Repeat("x", maxKeyName)}, nil},
		{"no room for the last of many", src, deep[:room+1], ErrNoSpace},
		{"dirty", reseal(dirty), []string{"b"}, ErrDirty},
	}
	for _, tt := range tests {
		h := parse(t, tt.b)
		h.AllowGrowth(len(tt.b))
		err := h.CreateKey(tt.path, buildTime)
		if tt.want == nil {
			if err != nil {
				t.Errorf("%s: %v", tt.what, err)
			}
			if _, err := h.Lookup(tt.path...); err != nil {
				t.Errorf("%s: %v", tt.what, err)
			}
			continue
		}
		if err == nil || tt.want != errAny && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, err, tt.want)
		}
		if !bytes.Equal(h.Bytes(), tt.b) {
			t.Errorf("%s: the hive has changed", tt.what)
		}
	}
}

var errAny = errors.New("any error")
