package hive

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var buildTime = time.Date(2024, 3, 1, 12, 0, 0, 500, time.UTC)

func build(t testing.TB, k *Key, opt BuildOptions) []byte {
	t.Helper()
	b, err := Build(k, opt)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// everything is a tree with all that a hive can hold.
func everything() *Key {
	k := &Key{Name: "CMI-CreateHive{2A7FB991-7BBE-4F9D-B91E-7CB51D4737F5}"}
	k.Create("Select").Set(DWORD("Current", 1)).Set(DWORD("Default", 0xffffffff)).Set(QWORD("Time", 1<<63))
	s := k.Create(`ControlSet001\Services`, "Tcpip").
		Set(SZ("", "the default value")).
		Set(SZ("DisplayName", "TCP/IP")).
		Set(ExpandSZ("ImagePath", `%SystemRoot%\System32\drivers\tcpip.sys`)).
		Set(MultiSZ("DependOnService", "RpcSs", "Afd")).
		Set(MultiSZ("none"))
	for n := range 10 {
		s.Set(Bytes(fmt.Sprintf("%d bytes", n), bytes.Repeat([]byte{0xa5}, n)))
	}
	for _, n := range []int{4092, 16344, 16350, 2 * 16344, 100000} {
		s.Set(Bytes(fmt.Sprintf("%d bytes", n), bytes.Repeat([]byte{1, 2, 3}, n)[:n]))
	}
	k.Create("Ключ", "Grüße").Set(SZ("имя", "значение 𝄞")).Set(SZ("Ä", "ä"))
	k.Create("classy").Class = encodeUTF16("GenericClass")
	k.Create("secret").Security = append([]byte{}, defaultSecurity()[:48]...)
	k.Create("secret", "inherits")
	k.Create("kept").Modified = time.Date(1999, 1, 2, 3, 4, 5, 600, time.UTC)
	k.Create("kept").Flags = FlagSymlink
	many := k.Create("many")
	for i := range 1200 {
		many.Create(fmt.Sprintf("%04d", (i*7)%1200)).Set(DWORD("i", uint32(i)))
	}
	return k
}

// expect turns a tree into what reading it back must give.
func expect(k *Key, opt BuildOptions, isRoot bool) *Key {
	e := *k
	if e.Modified.IsZero() {
		e.Modified = opt.Modified
	}
	if e.Security == nil {
		e.Security = DefaultSecurity
	}
	if isRoot {
		e.Flags |= FlagNoDelete
	}
	e.Values = nil
	for _, v := range k.Values {
		v.Data = append([]byte{}, v.Data...)
		e.Values = append(e.Values, v)
	}
	e.Subkeys = nil
	for _, s := range k.Subkeys {
		e.Subkeys = append(e.Subkeys, expect(s, opt, false))
	}
	slices.SortFunc(e.Subkeys, func(a, b *Key) int { return compareNames(a.Name, b.Name) })
	return &e
}

func TestBuildAndReadBack(t *testing.T) {
	for _, minor := range []uint32{3, 5} {
		opt := BuildOptions{Minor: minor, FileName: `\Windows\System32\config\SYSTEM, with a long path before it`, Modified: buildTime}
		k := everything()
		b := build(t, k, opt)
		if again := build(t, everything(), opt); !bytes.Equal(b, again) {
			t.Error("two builds differ")
		}
		h := parse(t, b)
		if h.Dirty() || h.Version() != minor || len(b)%4096 != 0 {
			t.Errorf("dirty %v, version %d, %d bytes", h.Dirty(), h.Version(), len(b))
		}
		got := root(t, b)
		if want := expect(k, opt, true); !reflect.DeepEqual(got, want) {
			t.Errorf("1.%d: tree read back differs", minor)
			sameContents(t, "tree", contentsOf(got), contentsOf(want))
		}
		signatures := cellSignatures(h)
		if lh, lf := signatures["lh"], signatures["lf"]; minor == 3 && lh > 0 || minor == 5 && lf > 0 {
			t.Errorf("1.%d: %d lh and %d lf lists", minor, lh, lf)
		}
		if signatures["ri"] != 1 || signatures["sk"] != 2 {
			t.Errorf("1.%d: cells %v", minor, signatures)
		}
		if db := signatures["db"]; minor == 3 && db != 0 || minor == 5 && db != 3 {
			t.Errorf("1.%d: %d big data", minor, db)
		}
		checkSecurity(t, h)
	}
}

func cellSignatures(h *Hive) map[string]int {
	m := map[string]int{}
	for off := uint32(0); off < uint32(len(h.bins)); off += 8 {
		if h.used.get(off / 8) {
			m[string(h.bins[off+4:off+6])]++
		}
	}
	return m
}

// checkSecurity checks that the security cells form a ring and that their
// counts are right.
func checkSecurity(t *testing.T, h *Hive) {
	t.Helper()
	refs := map[uint32]uint32{}
	for off := uint32(0); off < uint32(len(h.bins)); off += 8 {
		if h.used.get(off / 8) {
			if c, err := h.cell(off, "nk", keyNodeSize); err == nil {
				refs[le.Uint32(c[44:])]++
			}
		}
	}
	n, first := 0, le.Uint32(h.bins[cellOf(t, h)+4+44:])
	for off := first; ; {
		c, err := h.cell(off, "sk", securityNodeSize)
		if err != nil {
			t.Fatal(err)
		}
		if got := le.Uint32(c[12:]); got != refs[off] {
			t.Errorf("security at %#x: count %d, want %d", off, got, refs[off])
		}
		n++
		next := le.Uint32(c[4:])
		if d, err := h.cell(next, "sk", securityNodeSize); err != nil || le.Uint32(d[8:]) != off {
			t.Fatalf("security at %#x: next one %#x does not point back: %v", off, next, err)
		}
		if off = next; off == first {
			break
		}
	}
	if n != len(refs) {
		t.Errorf("%d security cells in the ring, want %d", n, len(refs))
	}
}

func TestOthersReadWhatIsBuilt(t *testing.T) {
	k := everything()
	k.DeleteKey("kept") // reglookup and hivexml name links differently
	want := contentsOf(k)
	for _, minor := range []uint32{3, 5} {
		b := build(t, k, BuildOptions{Minor: minor, FileName: "SYSTEM", Modified: buildTime})
		sameContents(t, "hivexml", hivexContents(t, b), want)

		if got := len(reglookupPaths(t, b)); got != len(want) {
			t.Errorf("reglookup finds %d keys and values, want %d", got, len(want))
		}
		name := tempFile(t, b)
		out := command(t, strings.NewReader("cd \\many\\0011\nlsval i\nclose\n"), "hivexsh", name)
		if got := strings.TrimSpace(string(out)); got != "173" {
			t.Errorf("hivexsh prints %q", got)
		}
		// Another writer can go on with it.
		command(t, strings.NewReader("cd \\Select\nadd New\ncd New\nsetval 1\nx\ndword:7\ncommit\n"), "hivexsh", "-w", name)
		changed := root(t, corpus(t, name))
		if v, _ := changed.Key("Select", "New").Value("x"); v.Type != DWord || !bytes.Equal(v.Data, []byte{7, 0, 0, 0}) {
			t.Errorf("after an edit with hivexsh: %v", v)
		}
	}
}

// TestRoundTripCorpus decodes every real hive, which changes nothing, and builds
// it anew, which gives the same tree.
func TestRoundTripCorpus(t *testing.T) {
	hives := map[string][]byte{"win10-mbr.SYSTEM": systemHive(t)}
	for _, name := range stores {
		hives[name] = store(t, name)
	}
	for _, name := range []string{"dirty.SYSTEM", "dirty.UsrClass", "dirty.NTUSER"} {
		primary, log1, log2 := dirtyHive(t, name)
		hives[name] = replay(t, primary, log1, log2).Hive
	}
	for name, src := range hives {
		h := parse(t, src)
		k, err := h.Root()
		if err != nil {
			t.Fatal(name, err)
		}
		if !bytes.Equal(h.Bytes(), src) {
			t.Errorf("%s: reading it changes it", name)
		}
		start := time.Now()
		b := build(t, k, BuildOptions{Minor: h.Version()})
		t.Logf("%s: %d bytes, built anew %d in %v", name, len(src), len(b), time.Since(start))
		if !reflect.DeepEqual(root(t, b), k) {
			t.Errorf("%s: rebuilt tree differs", name)
		}
		checkSecurity(t, parse(t, b))
	}
}

func TestOthersReadRebuiltCorpus(t *testing.T) {
	for _, name := range stores {
		src := store(t, name)
		b := build(t, root(t, src), BuildOptions{Minor: 3})
		sameContents(t, name, hivexContents(t, b), hivexContents(t, src))
		if got, want := reglookupPaths(t, b), reglookupPaths(t, src); !slices.Equal(got, want) {
			t.Errorf("%s: reglookup finds %d, before %d", name, len(got), len(want))
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	deep := &Key{Name: "root"}
	for k, i := deep, 0; i < 512; i++ {
		k = k.Create("k")
	}
	cycle := &Key{Name: "root"}
	cycle.Subkeys = []*Key{cycle}
	tests := []struct {
		what, want string
		k          *Key
		opt        BuildOptions
	}{
		{"version", "1.4", &Key{Name: "r"}, BuildOptions{Minor: 4}},
		{"no name", "0 characters", &Key{}, BuildOptions{}},
		{"long name", "256 characters", &Key{Name: strings.Repeat("x", 256)}, BuildOptions{}},
		{"two subkeys", `two subkeys "A"`, &Key{Name: "r", Subkeys: []*Key{{Name: "a"}, {Name: "A"}}}, BuildOptions{}},
		{"two values", `two values "A"`, &Key{Name: "r", Values: []Value{DWORD("a", 1), DWORD("A", 1)}}, BuildOptions{}},
		{"long value name", "16384 characters", (&Key{Name: "r"}).Set(DWORD(strings.Repeat("x", 16384), 1)), BuildOptions{}},
		{"long class", "class of 65536", &Key{Name: "r", Class: make([]byte, 65536)}, BuildOptions{}},
		{"deep", "512 deep", deep, BuildOptions{}},
		{"cycle", "512 deep", cycle, BuildOptions{}},
	}
	for _, tt := range tests {
		if _, err := Build(tt.k, tt.opt); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %.300v, want one about %q", tt.what, err, tt.want)
		}
	}
}

func TestKeyInMemory(t *testing.T) {
	k := &Key{Name: "root", Security: []byte("d")}
	a := k.Create(`A\B`, "C").Set(DWORD("x", 1)).Set(SZ("s", "t")).Set(DWORD("X", 2))
	if k.Key("a", "b", "c") != a || k.Key(`a\b\c`) != a || k.Key() != k || k.Key("a", "d") != nil {
		t.Error("Key")
	}
	if string(a.Security) != "d" {
		t.Error("a created key has no security descriptor of its parent")
	}
	if v, ok := a.Value("x"); !ok || len(a.Values) != 2 || v.Name != "X" || v.Data[0] != 2 {
		t.Error("Set does not replace:", a.Values)
	}
	if !a.Delete("S") || a.Delete("s") || len(a.Values) != 1 {
		t.Error("Delete")
	}
	if !k.Key("A").DeleteKey("b") || k.Key("A").DeleteKey("b") || k.Key("A", "B") != nil {
		t.Error("DeleteKey")
	}
}

func TestValues(t *testing.T) {
	if s := SZ("", "grün").String(); s != "grün" {
		t.Error(s)
	}
	if l := MultiSZ("", "a", "b").Strings(); !slices.Equal(l, []string{"a", "b"}) {
		t.Error(l)
	}
	if l := MultiSZ("").Strings(); len(l) != 0 {
		t.Error(l)
	}
	if l := SZ("", "x").Strings(); !slices.Equal(l, []string{"x"}) {
		t.Error(l)
	}
	if s := Bytes("", []byte("a\x00b\x00")).String(); s != "" {
		t.Error(s)
	}
	if n, ok := DWORD("", 7).Uint32(); !ok || n != 7 {
		t.Error(n, ok)
	}
	if n, ok := QWORD("", 1<<40).Uint64(); !ok || n != 1<<40 {
		t.Error(n, ok)
	}
	if _, ok := SZ("", "7").Uint64(); ok {
		t.Error("a string is a number")
	}
	if _, ok := (Value{Type: DWord, Data: []byte{1}}).Uint32(); ok {
		t.Error("one byte is a DWORD")
	}
}

func TestFiletime(t *testing.T) {
	for _, ft := range []uint64{0, 1, 132292574250000007, 1<<64 - 1} {
		if got := toFiletime(fromFiletime(ft)); got != ft {
			t.Errorf("%d becomes %d", ft, got)
		}
	}
	if got := toFiletime(time.Time{}); got != 0 {
		t.Error("the zero time is", got)
	}
	if got := fromFiletime(116444736000000000); !got.Equal(time.Unix(0, 0)) {
		t.Error(got)
	}
}
