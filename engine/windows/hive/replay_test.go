package hive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func unpack(t testing.TB, name string) []byte {
	t.Helper()
	b, err := exec.Command("xz", "-dc", "testdata/"+name+".xz").Output()
	if err != nil {
		t.Fatal(name, err)
	}
	return b
}

// dirtyHive is a real hive and its logs.
func dirtyHive(t testing.TB, name string) (primary, log1, log2 []byte) {
	t.Helper()
	return unpack(t, name), unpack(t, name+".LOG1"), unpack(t, name+".LOG2")
}

func replay(t testing.TB, primary []byte, logs ...[]byte) Recovered {
	t.Helper()
	r, err := Replay(primary, logs...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// naiveReplay is all there is to applying logs that are known to be sound: the
// entries, wherever they are, by sequence number.
func naiveReplay(primary []byte, logs ...[]byte) []byte {
	u32 := func(b []byte, at int) int { return int(binary.LittleEndian.Uint32(b[at:])) }
	entries, last := map[int][]byte{}, 0
	for _, log := range logs {
		for at := 512; at+512 <= len(log); at += 512 {
			if e := log[at:]; string(e[:4]) == "HvLE" && u32(e, 12) >= max(u32(primary, 8), u32(log, 4)) {
				entries[u32(e, 12)], last = e, max(last, u32(e, 12))
			}
		}
	}
	out := bytes.Clone(primary)
	for seq := 0; seq <= last; seq++ {
		e := entries[seq]
		if e == nil {
			continue
		}
		n := u32(e, 20)
		data := e[40+8*n:]
		for i := range n {
			off, size := 4096+u32(e, 40+8*i), u32(e, 44+8*i)
			for len(out) < off+size {
				out = append(out, 0)
			}
			copy(out[off:], data[:size])
			data = data[size:]
		}
		copy(out[40:44], e[16:20])
	}
	return out[4096 : 4096+u32(out, 40)]
}

func TestReplayRealHives(t *testing.T) {
	tests := []struct {
		name    string
		before  [2]uint32
		after   uint32
		log1    LogUse
		log2    LogUse
		old     string // what log2 is ignored for
		newKeys int    // at least so many more than without the logs
	}{
		// Pages are as many as regipy's tests expect.
		{"dirty.SYSTEM", [2]uint32{1622, 1621}, 2131,
			LogUse{Entries: 4, Pages: 10, First: 2107, Last: 2110},
			LogUse{Entries: 20, Pages: 305, First: 2111, Last: 2130}, "", 2000},
		{"dirty.UsrClass", [2]uint32{256, 255}, 301,
			LogUse{Entries: 4, Pages: 53, First: 287, Last: 290},
			LogUse{Entries: 10, Pages: 105, First: 291, Last: 300}, "", 30},
		{"dirty.NTUSER", [2]uint32{567, 566}, 589,
			LogUse{Entries: 23, Pages: 132, First: 566, Last: 588},
			LogUse{}, "end at 562: the hive has passed", 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			primary, log1, log2 := dirtyHive(t, tt.name)
			was := bytes.Clone(primary)
			start := time.Now()
			r := replay(t, primary, log1, log2)
			t.Log("replayed in", time.Since(start))
			if !bytes.Equal(was, primary) {
				t.Error("the primary was changed")
			}
			if tt.old != "" {
				if err := r.Logs[1].Ignored; err == nil || !strings.Contains(err.Error(), tt.old) {
					t.Errorf("log 2 is ignored for %v, want %q", err, tt.old)
				}
				r.Logs[1].Ignored = nil
			}
			want := Recovered{Hive: r.Hive, Replayed: true, Before: tt.before, After: tt.after, Logs: []LogUse{tt.log1, tt.log2}}
			if !reflect.DeepEqual(r, want) {
				r.Hive, want.Hive = nil, nil
				t.Errorf("replay: %+v, want %+v", r, want)
			}
			h := parse(t, r.Hive)
			if h.Dirty() || len(r.Hive) != len(primary) {
				t.Errorf("dirty %v, %d bytes, before %d", h.Dirty(), len(r.Hive), len(primary))
			}
			if !bytes.Equal(h.bins, naiveReplay(primary, log1, log2)) {
				t.Error("bins differ from those of the simple replay")
			}
			checkSecurity(t, h)
			ours := contentsOf(root(t, r.Hive))
			sameContents(t, "hivexml", ours, hivexContents(t, r.Hive))
			if n := len(reglookupPaths(t, r.Hive)); n < len(ours) {
				t.Errorf("reglookup finds %d keys and values, want %d", n, len(ours))
			}
			if n := keys(ours) - keys(contentsOf(root(t, primary))); n < tt.newKeys {
				t.Errorf("%d keys more than before, want %d", n, tt.newKeys)
			}
			// The other order of logs, and once more.
			if again := replay(t, primary, log2, log1); !bytes.Equal(again.Hive, r.Hive) {
				t.Error("the order of the logs matters")
			}
			if again := replay(t, r.Hive, log1, log2); again.Replayed || !bytes.Equal(again.Hive, r.Hive) {
				t.Error("a recovered hive is replayed")
			}
			// A torn base block comes from the log.
			torn := bytes.Clone(primary)
			copy(torn[4:], make([]byte, 60))
			lost := replay(t, torn, log1, log2)
			if !lost.BaseBlockLost || !bytes.Equal(lost.Hive[baseBlockSize:], r.Hive[baseBlockSize:]) || lost.After != r.After {
				t.Error("with a torn base block, the recovered hive differs")
			}
		})
	}
}

func keys(c contents) (n int) {
	for path := range c {
		if strings.HasSuffix(path, `\`) {
			n++
		}
	}
	return n
}

// TestReplayRefuses damages the logs of a hive with three changes, of which the
// first is in one log and two are in the other.
func TestReplayRefuses(t *testing.T) {
	c := newCrash(t, 3)
	log1, log2 := c.log(1, 1), c.log(2, 3)
	primary := c.dirty()
	change := func(b []byte, at int, n uint32) []byte {
		b = bytes.Clone(b)
		le.PutUint32(b[at:], n)
		return b
	}
	base := func(log []byte, at int, n uint32) []byte {
		b := change(log, at, n)
		le.PutUint32(b[checksumAt:], checksum(b))
		return b
	}
	entry := func(log []byte, at int, n uint32) []byte { return rehash(change(log, sectorSize+at, n)) }
	old := c.oldLog(1)
	written := c.dirtyOld(1)
	other := bytes.Clone(log1)
	other[112], other[113] = 1, 2
	ours := bytes.Clone(primary)
	ours[112] = 1
	second := len(c.entry(2)) + sectorSize

	tests := []struct {
		what    string
		primary []byte
		logs    [][]byte
		want    string
	}{
		{"no logs", primary, nil, "no log"},
		{"empty logs", primary, [][]byte{{}, nil}, "log 1: it is empty; log 2: it is empty"},
		{"zeros", primary, [][]byte{make([]byte, 4096)}, "log 1: it is empty"},
		{"a short log", primary, [][]byte{log1[:500]}, "500 bytes"},
		{"not a log", primary, [][]byte{bytes.Repeat([]byte("x"), 4096)}, "signature"},
		{"a hive", primary, [][]byte{c.states[0]}, "file type 0"},
		{"wrong checksum", primary, [][]byte{change(log1, 200, 7)}, "log 1: checksum"},
		{"interrupted log", primary, [][]byte{base(log1, 4, 99)}, "interrupted"},
		{"another version", primary, [][]byte{base(log1, 24, 2)}, "version 1.2"},
		{"another root", primary, [][]byte{base(log1, 36, 8)}, "not of this hive: root cell"},
		{"another resource manager", reseal(ours), [][]byte{reseal(other)}, "not of this hive: resource manager"},
		{"another name", primary, [][]byte{base(log1, 48, 'X')}, "not of this hive: its name"},
		{"stale logs", c.dirtyAt(3), [][]byte{log1, log2[:second]}, "has passed"},
		{"first entry's pages", primary, [][]byte{change(log1, sectorSize+600, 7)}, "at 0x200: hash of the pages"},
		{"first entry's header", primary, [][]byte{change(log1, sectorSize+20, 7)}, "at 0x200: hash of the header"},
		{"first entry's size", primary, [][]byte{rehashHeader(change(log1, sectorSize+4, 1<<31))}, "0x80000000 bytes"},
		{"first entry's number", primary, [][]byte{entry(log1, 12, 77)}, "sequence number 77"},
		{"no entry", primary, [][]byte{log1[:sectorSize]}, "no log entry at 0x200"},
		{"odd hive size", primary, [][]byte{entry(log1, 16, 4097)}, "0x1001 bytes of bins"},
		{"huge hive size", primary, [][]byte{entry(log1, 16, 1<<30), log2}, "0x40000000 bytes of bins"},
		{"page beyond the hive", primary, [][]byte{entry(log1, 40, 1<<20)}, "beyond the hive"},
		{"page beyond the entry", primary, [][]byte{entry(entry(log1, 40, 0), 44, uint32(len(c.bins(0))))}, "entry has 0x"},
		{"many pages", primary, [][]byte{entry(log1, 20, 1<<30)}, "1073741824 page references"},
		{"first log lost", primary, [][]byte{change(log1, 200, 7), log2}, "log 1 cannot be used, and may have held changes before 11"},
		{"first log of another hive", reseal(ours), [][]byte{reseal(other), c.log(2, 3)}, "log 1 cannot be used"},
		{"the hive was written between", c.dirtyAt(1), [][]byte{c.log(1, 3)}, "begin at 10, before the hive's write, and end at 12"},
		{"and the other log goes on", c.dirtyAt(1), [][]byte{c.log(1, 2), c.log(3, 3)}, "log 1 cannot be used"},
		{"first log damaged, torn base block", tornBase(primary), [][]byte{change(log1, 200, 7), log2}, "log 1 cannot be used"},
		{"one entry is missing", primary, [][]byte{log1, c.log(3, 3)}, "changes up to 12, but those after 10"},
		{"one entry is damaged", primary, [][]byte{log1, change(log2, sectorSize+600, 7)}, "changes up to 12, but those after 10"},
		{"one entry is damaged, same log", primary, [][]byte{change(c.log(1, 3), sectorSize+len(c.entry(1))+600, 7)}, "changes up to 12, but those after 10"},
		{"the hive is not whole afterwards", primary, [][]byte{rehash(func() []byte {
			b := bytes.Clone(log1)
			copy(b[bytes.Index(b, []byte("hbin")):], "HBIN")
			return b
		}())}, "not whole"},

		{"old log, cut off", written, [][]byte{old[:len(old)-1]}, "log ends before dirty page"},
		{"old log, vector cut off", written, [][]byte{old[:sectorSize+5]}, "dirty vector of"},
		{"old log, no vector", written, [][]byte{change(old, sectorSize, 0)}, "no dirty vector"},
		{"old log, odd size", written, [][]byte{base(old, 40, 512)}, "0x200 bytes of bins"},
		{"old log, huge", written, [][]byte{base(old, 40, 0xfffff000)}, "dirty vector"},
		{"old log, sectors", written, [][]byte{base(old, 44, 8)}, "clustering factor 8"},
		{"old log of another write", written, [][]byte{base(old, 12, 5)}, "it is of the write at"},
		{"old log of another number", written, [][]byte{base(base(old, 4, 99), 8, 99)}, "sequence number is 99"},
		{"old log, before the bins", tornBase(written), [][]byte{base(old, 16, 0)}, "before the hive's first bin"},
	}
	for _, tt := range tests {
		r, err := Replay(tt.primary, tt.logs...)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.what, err)
			}
			continue
		}
		if !errors.Is(err, ErrLogUnusable) || !strings.Contains(err.Error(), tt.want) || r.Hive != nil {
			t.Errorf("%s: %v, want one about %q", tt.what, err, tt.want)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 100), make([]byte, 8192), reseal(change(primary, 20, 2)), reseal(change(primary, 28, 6))} {
		if _, err := Replay(b, log1); !errors.Is(err, ErrNotHive) {
			t.Error(err)
		}
	}
}

// TestReplayChoosesLogs: which of two logs counts.
func TestReplayChoosesLogs(t *testing.T) {
	c := newCrash(t, 3)
	old := c.oldLog(1)
	older := bytes.Clone(old)
	le.PutUint64(older[12:], le.Uint64(old[12:])-1)
	reseal(older)
	damaged := bytes.Clone(old)
	damaged[len(damaged)-1] ^= 1

	ahead := c.log(1, 2)
	tests := []struct {
		what    string
		primary []byte
		logs    [][]byte
		state   int
		ignored string
	}{
		{"new format before old", c.dirty(), [][]byte{old, ahead}, 2, "log 1: it is of the write at"},
		{"old format, the other is stale", c.dirtyOld(1), [][]byte{older, old}, 1, "log 1: it is of the write at"},
		{"old format, newest for a torn base block", tornBase(c.dirtyOld(1)), [][]byte{older, old}, 1, "log 1: the other log is newer"},
		{"old format, the first of equal ones", c.dirtyOld(1), [][]byte{old, damaged}, 1, "log 2: the other log is newer"},
		{"both formats for a torn base block", tornBase(c.dirty()), [][]byte{ahead, old}, 2, "log 2: there are logs of the new format"},
		{"an interrupted write at the end", c.dirty(), [][]byte{c.log(1, 2), c.log(3, 3)[:4000]}, 2, "log 2: log entry at 0x200"},
		{"interrupted in the log", c.dirty(), [][]byte{c.log(1, 3)[:len(c.log(1, 3))-1]}, 2, "log 1: log entry at"},
		{"a shorter copy of the log", c.dirty(), [][]byte{c.log(1, 3), c.log(1, 1)}, 3, "log 2: its entries end at 10"},
		{"a log interrupted when it was begun", c.dirty(), [][]byte{c.log(1, 2), c.log(3, 3)[:sectorSize]}, 2, "log 2: no log entry"},
		{"a stale log that is damaged", c.dirtyAt(1), [][]byte{c.log(2, 3), c.log(1, 1)}, 3, "log 2: its entries end at 10: the hive has passed"},
		{"the newest log for a torn base block", tornBase(c.dirtyAt(2)), [][]byte{c.log(3, 3), c.log(1, 1)}, 3, "log 2: its entries end at 10"},
	}
	for _, tt := range tests {
		r, err := Replay(tt.primary, tt.logs...)
		if err != nil {
			t.Errorf("%s: %v", tt.what, err)
			continue
		}
		if !bytes.Equal(r.Hive[baseBlockSize:], c.bins(tt.state)) {
			t.Errorf("%s: not state %d", tt.what, tt.state)
		}
		var ignored []string
		for i, u := range r.Logs {
			if u.Ignored != nil {
				ignored = append(ignored, fmt.Sprintf("log %d: %v", i+1, u.Ignored))
			}
		}
		if !slices.ContainsFunc(ignored, func(s string) bool { return strings.HasPrefix(s, tt.ignored) }) && tt.ignored != "" {
			t.Errorf("%s: ignored: %q, want %q", tt.what, ignored, tt.ignored)
		}
	}
}

// TestReplayAfterCrash stops a writer of hives anywhere.
func TestReplayAfterCrash(t *testing.T) {
	c := newCrash(t, 12)
	n := len(c.states) - 1
	for i := range 400 {
		r := c.random
		last := 1 + r.IntN(n) // the last complete entry
		var logs [][]byte
		if cut := r.IntN(last + 1); cut == 0 || cut == last {
			logs = [][]byte{c.log(1, last), nil}
		} else {
			logs = [][]byte{c.log(1, cut), c.log(cut+1, last)}
		}
		if last < n && r.IntN(2) == 0 { // another one was being written
			tail := len(logs) - 1
			if len(logs[tail]) == 0 {
				tail--
			}
			e := c.entry(last + 1)
			logs[tail] = append(logs[tail], e[:r.IntN(len(e))]...)
		}
		if r.IntN(2) == 0 {
			slices.Reverse(logs)
		}
		primary := c.dirty()
		c.flush(primary, r.IntN(last+1))
		if r.IntN(4) == 0 {
			primary = tornBase(primary)
		}
		got := replay(t, primary, logs...)
		if !bytes.Equal(parse(t, got.Hive).bins, c.bins(last)) {
			t.Fatalf("crash %d: after entry %d of %d, the hive is another one", i, last, n)
		}
		if want := c.seq(last) + 1; got.After != want {
			t.Fatalf("crash %d: sequence number %d, want %d", i, got.After, want)
		}

		state := 1 + r.IntN(n)
		primary = c.dirtyOld(state)
		c.flush(primary, state)
		if r.IntN(4) == 0 {
			primary = tornBase(primary)
		}
		got = replay(t, primary, nil, append(c.oldLog(state), make([]byte, 512*r.IntN(3))...))
		if !got.Logs[1].OldFormat || !bytes.Equal(parse(t, got.Hive).bins, c.bins(state)) {
			t.Fatalf("crash %d: of an old log, the hive is another one", i)
		}
	}
}
