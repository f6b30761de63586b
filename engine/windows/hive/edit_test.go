package hive

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"
)

var mountedDevices = []string{"MountedDevices"}

func pagesChanged(a, b []byte) (n int) {
	for i := 0; i < len(a); i += pageSize {
		if !bytes.Equal(a[i:i+pageSize], b[i:i+pageSize]) {
			n++
		}
	}
	return n
}

// gptDevice is what MountedDevices holds for a partition of a GPT disk.
func gptDevice(name string, id byte) Value {
	return Bytes(name, append([]byte("DMIO:ID:"), bytes.Repeat([]byte{id}, 16)...))
}

// TestEditRealHive converts one mounted device of a real hive, then all.
func TestEditRealHive(t *testing.T) {
	before := cleanSystemHive(t)
	h := parse(t, before)
	start := time.Now()
	v := gptDevice(`\DosDevices\C:`, 0xab)
	if err := h.SetValue(mountedDevices, v); err != nil {
		t.Fatal(err)
	}
	h.Commit(buildTime)
	t.Log("edited in", time.Since(start))
	after := h.Bytes()
	if len(after) != len(before) {
		t.Fatalf("hive grew from %d to %d bytes", len(before), len(after))
	}
	n := pagesChanged(before, after)
	t.Log(n, "pages changed")
	if n > 6 {
		t.Errorf("%d pages changed, want at most 6", n)
	}
	want := hivexContents(t, before)
	want[`\MountedDevices\\DosDevices\C:=`] = contentsOf(&Key{Values: []Value{v}})[`\\DosDevices\C:=`]
	sameContents(t, "after one edit", hivexContents(t, after), want)

	h = parse(t, after)
	if h.Dirty() {
		t.Error("dirty after Commit")
	}
	if seq := le.Uint32(after[4:]); seq != le.Uint32(before[4:])+1 || seq != le.Uint32(after[8:]) {
		t.Error("sequence numbers", seq, le.Uint32(after[8:]))
	}
	if got := fromFiletime(le.Uint64(after[12:])); !got.Equal(buildTime) {
		t.Error("time", got)
	}
	k, err := h.Lookup("MountedDevices")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range k.Values {
		if len(v.Data) == 12 {
			if err := h.SetValue(mountedDevices, gptDevice(v.Name, 0xcd)); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.Commit(buildTime)
	if n := pagesChanged(before, h.Bytes()); n > 6 {
		t.Errorf("%d pages changed by all edits, want at most 6", n)
	}
	checkCells(t, h)
}

// checkCells checks the lists of cells that edits keep against the hive.
func checkCells(t *testing.T, h *Hive) {
	t.Helper()
	fresh := parse(t, h.Bytes())
	fresh.collectFree()
	if fmt.Sprint(h.free) != fmt.Sprint(fresh.free) {
		t.Errorf("free cells %x, want %x", h.free, fresh.free)
	}
	for i := range fresh.used {
		if fresh.used[i] != h.used[i] {
			t.Fatalf("used cells near %#x: %b, want %b", i*64*8, h.used[i], fresh.used[i])
		}
	}
}

func TestEditInPlaceChangesNothingElse(t *testing.T) {
	k := &Key{Name: "root"}
	k.Create("MountedDevices").Set(Bytes("long", make([]byte, 40))).Set(Bytes("short", make([]byte, 12))).Set(DWORD("n", 1))
	src := build(t, k, BuildOptions{Modified: buildTime})
	tests := []struct {
		v    Value
		most int // bytes that may change
	}{
		{Bytes("long", bytes.Repeat([]byte{9}, 40)), 40},
		{Bytes("long", bytes.Repeat([]byte{9}, 24)), 24 + 1},
		{SZ("short", "abcd"), 10 + 2},
		{DWORD("n", 2), 1},
		{DWORD("long", 2), 4 + 4 + 4 + 4}, // freed, and now in the value's cell
	}
	for _, tt := range tests {
		h := parse(t, src)
		if err := h.SetValue(mountedDevices, tt.v); err != nil {
			t.Fatal(err)
		}
		n := 0
		for i, b := range h.Bytes() {
			if b != src[i] {
				n++
			}
		}
		if n == 0 || n > tt.most {
			t.Errorf("%s %d: %d bytes changed, want at most %d", tt.v.Name, len(tt.v.Data), n, tt.most)
		}
		checkCells(t, h)
		want := root(t, src)
		want.Key("MountedDevices").Set(tt.v)
		sameContents(t, "ours", contentsOf(root(t, h.Bytes())), contentsOf(want))
	}
}

// TestRandomEdits compares a long series of edits with the same on a tree in
// memory, and with what libhivex reads.
func TestRandomEdits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	k := &Key{Name: "root"}
	paths := [][]string{{}, {"a"}, {"a", "b"}, {"c"}}
	for _, p := range paths {
		k.Create(p...)
	}
	src := build(t, k, BuildOptions{Modified: buildTime, FreeBytes: 60 << 10})
	h := parse(t, src)
	full, set, deleted := 0, 0, 0
	for i := range 4000 {
		p := paths[r.IntN(len(paths))]
		name := fmt.Sprintf("value %d", r.IntN(12))
		if r.IntN(4) == 0 {
			err := h.DeleteValue(p, name)
			if ok := k.Key(p...).Delete(name); ok != (err == nil) || !ok && !errors.Is(err, ErrNotFound) {
				t.Fatal(i, ok, err)
			}
			deleted++
			continue
		}
		n := r.IntN(80)
		switch r.IntN(30) {
		case 0:
			n = r.IntN(60000) // big data
		case 1:
			n = 12000
		}
		data := make([]byte, n)
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		was := bytes.Clone(h.Bytes())
		err := h.SetValue(p, Bytes(name, data))
		if errors.Is(err, ErrNoSpace) {
			full++
			if !bytes.Equal(was, h.Bytes()) {
				t.Fatal("a failed edit changed the hive")
			}
			continue
		}
		if err != nil {
			t.Fatal(i, err)
		}
		k.Key(p...).Set(Bytes(name, data))
		set++
		if i%500 == 0 {
			checkCells(t, h)
		}
	}
	t.Logf("%d set, %d deleted, %d times full", set, deleted, full)
	if full == 0 || len(h.Bytes()) != len(src) {
		t.Error("the hive was never full, or grew")
	}
	h.Commit(buildTime)
	checkCells(t, h)
	sameContents(t, "ours", contentsOf(root(t, h.Bytes())), contentsOf(k))
	sameContents(t, "hivexml", hivexContents(t, h.Bytes()), contentsOf(k))

	for _, p := range paths { // all is freed and joined again
		for _, v := range append([]Value{}, k.Key(p...).Values...) {
			if err := h.DeleteValue(p, v.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	checkCells(t, h)
	fresh := parse(t, src)
	fresh.collectFree()
	if fmt.Sprint(h.free) != fmt.Sprint(fresh.free) {
		t.Errorf("after deleting all: free cells %x, at first %x", h.free, fresh.free)
	}
}

func TestEditRefuses(t *testing.T) {
	k := &Key{Name: "root"}
	k.Create("full").Set(Bytes("v", make([]byte, 12)))
	src := build(t, k, BuildOptions{})
	h := parse(t, src)
	free := len(h.bins) // more than there is
	tests := []struct {
		what string
		err  error
		want error
	}{
		{"no such key", h.SetValue([]string{"none"}, DWORD("x", 1)), ErrNotFound},
		{"no such value", h.DeleteValue([]string{"full"}, "x"), ErrNotFound},
		{"too big", h.SetValue([]string{"full"}, Bytes("v", make([]byte, free))), ErrNoSpace},
		{"too big, new", h.SetValue([]string{"full"}, Bytes("w", make([]byte, free))), ErrNoSpace},
		{"too big, in segments", h.SetValue([]string{"full"}, Bytes("v", make([]byte, 40000))), ErrNoSpace},
	}
	for _, tt := range tests {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, tt.err, tt.want)
		}
	}
	if !bytes.Equal(src, h.Bytes()) {
		t.Error("failed edits changed the hive")
	}
	// It still works, and the list of values grows.
	want := maps.Clone(contentsOf(k))
	for i := range 20 {
		v := DWORD(fmt.Sprint("new ", i), uint32(i))
		if err := h.SetValue([]string{"full"}, v); err != nil {
			t.Fatal(err)
		}
		want[`\full\`+v.Name+"="] = fmt.Sprint(i)
	}
	h.Commit(buildTime)
	sameContents(t, "hivexml", hivexContents(t, h.Bytes()), want)
}

// TestSharedCells edits a value whose data is the cell of its own key.
func TestSharedCells(t *testing.T) {
	k := &Key{Name: "root"}
	k.Create("k").Set(Bytes("v", make([]byte, 12)))
	b := build(t, k, BuildOptions{})
	h := parse(t, b)
	off := cellOf(t, h, "k")
	list := le.Uint32(h.bins[off+4+40:])
	value := le.Uint32(h.bins[list+4:])
	le.PutUint32(b[baseBlockSize+value+4+8:], off)
	h = parse(t, b)
	if err := h.SetValue([]string{"k"}, Bytes("v", make([]byte, 60))); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	if !bytes.Equal(b, h.Bytes()) {
		t.Error("the hive has changed")
	}
}

func TestReservedSpace(t *testing.T) {
	k := &Key{Name: "root"}
	for _, n := range []int{0, 100, 5000, 70000} {
		h := parse(t, build(t, k, BuildOptions{FreeBytes: n}))
		if n > 0 {
			if err := h.SetValue(nil, Bytes("", make([]byte, min(n-100, bigData)))); n > 100 && err != nil {
				t.Error(n, err)
			}
		}
		h.collectFree()
		if n > 0 && len(h.free) == 0 {
			t.Error(n, "bytes: no free cell")
		}
	}
}
