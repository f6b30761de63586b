package hive

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// crash is a hive and what becomes of it: states of the file after each of some
// changes. It writes logs as Windows does.
type crash struct {
	states [][]byte
	random *rand.Rand
}

// firstSeq is the sequence number of the hive before the changes, and of the
// entry of the first change.
const firstSeq = 10

func newCrash(t testing.TB, changes int) *crash {
	t.Helper()
	c := &crash{random: rand.New(rand.NewPCG(3, 4))}
	k := &Key{Name: "root"}
	for i := range 300 {
		k.Create("fixed", fmt.Sprint(i)).Set(Bytes("v", make([]byte, i)))
	}
	b := build(t, k, BuildOptions{Modified: buildTime, FileName: "SYSTEM"})
	seal(b, firstSeq)
	c.states = [][]byte{b}
	for i := range changes {
		h := parse(t, b)
		h.AllowGrowth(1 << 20)
		for j := range 5 {
			path := []string{"fixed", fmt.Sprint(c.random.IntN(300))}
			if j == 0 {
				path = append(path, fmt.Sprint("new ", i))
			}
			if err := h.CreateKey(path, buildTime); err != nil {
				t.Fatal(err)
			}
			data := make([]byte, c.random.IntN(1500))
			data = append(data, byte(i))
			if err := h.SetValue(path, Bytes("v", data)); err != nil {
				t.Fatal(err)
			}
		}
		h.Commit(buildTime.Add(time.Duration(i+1) * time.Minute))
		b = bytes.Clone(h.Bytes())
		c.states = append(c.states, b)
	}
	return c
}

func (c *crash) bins(state int) []byte { return c.states[state][baseBlockSize:] }

// seq is the sequence number of the entry that leads to a state.
func (c *crash) seq(state int) uint32 { return firstSeq + uint32(state) - 1 }

// dirty is the first state, as it is while changes are in the logs only.
func (c *crash) dirty() []byte { return c.dirtyAt(0) }

func (c *crash) dirtyAt(state int) []byte {
	b := bytes.Clone(c.states[state])
	le.PutUint32(b[4:], firstSeq+uint32(state)+1)
	return reseal(b)
}

// dirtyOld is the hive while the old format's write of a state goes on: the base
// block is new, but the second sequence number.
func (c *crash) dirtyOld(state int) []byte {
	b := bytes.Clone(c.states[state-1])
	copy(b[:sectorSize], c.states[state])
	le.PutUint32(b[8:], firstSeq+uint32(state)-1)
	le.PutUint32(b[40:], le.Uint32(c.states[state-1][40:]))
	return reseal(b)
}

// flush writes some of the pages of a state into the file.
func (c *crash) flush(file []byte, state int) {
	for _, off := range changedPages(file[baseBlockSize:], c.bins(state)) {
		if at := baseBlockSize + int(off); c.random.IntN(2) == 0 && at < len(file) {
			copy(file[at:at+pageSize], c.states[state][at:])
		}
	}
}

func changedPages(before, after []byte) (list []uint32) {
	for off := 0; off < len(after); off += pageSize {
		if off >= len(before) || !bytes.Equal(before[off:off+pageSize], after[off:off+pageSize]) {
			list = append(list, uint32(off))
		}
	}
	return list
}

// log is a log with the changes that lead to the states from first to last.
func (c *crash) log(first, last int) []byte {
	b := bytes.Clone(c.states[first][:sectorSize])
	b[28] = 6
	seal(b, c.seq(first))
	for i := first; i <= last; i++ {
		b = append(b, c.entry(i)...)
	}
	return b
}

// entry is the change that leads to a state.
func (c *crash) entry(state int) []byte {
	b := make([]byte, 40)
	copy(b, "HvLE")
	le.PutUint32(b[12:], c.seq(state))
	le.PutUint32(b[16:], uint32(len(c.bins(state))))
	var pages []byte
	list := changedPages(c.bins(state-1), c.bins(state))
	le.PutUint32(b[20:], uint32(len(list)))
	for _, off := range list {
		b = le.AppendUint32(b, off)
		b = le.AppendUint32(b, pageSize)
		pages = append(pages, c.bins(state)[off:off+pageSize]...)
	}
	b = append(b, pages...)
	b = append(b, make([]byte, -len(b)&511)...)
	le.PutUint32(b[4:], uint32(len(b)))
	le.PutUint64(b[24:], marvin32(b[40:]))
	le.PutUint64(b[32:], marvin32(b[:32]))
	return b
}

// oldLog is a log of the old format with the change that leads to a state.
func (c *crash) oldLog(state int) []byte {
	b := bytes.Clone(c.states[state][:sectorSize])
	b[28] = 1
	seal(b, firstSeq+uint32(state))
	vector := make([]byte, len(c.bins(state))/4096)
	var pages []byte
	for _, off := range changedPages(c.bins(state-1), c.bins(state)) {
		vector[off/pageSize] = 0xff
		pages = append(pages, c.bins(state)[off:off+pageSize]...)
	}
	b = append(append(b, "DIRT"...), vector...)
	b = append(b, make([]byte, -len(b)&511)...)
	return append(b, pages...)
}

// tornBase is a copy of a hive whose base block was not completely written.
func tornBase(b []byte) []byte {
	b = bytes.Clone(b)
	copy(b[4:60], bytes.Repeat([]byte{0x55}, 56))
	return b
}

func reseal(b []byte) []byte {
	le.PutUint32(b[checksumAt:], checksum(b))
	return b
}

// rehash corrects the hashes of a log's first entry.
func rehash(b []byte) []byte {
	e := b[sectorSize:]
	le.PutUint64(e[24:], marvin32(e[40:le.Uint32(e[4:])]))
	return rehashHeader(b)
}

func rehashHeader(b []byte) []byte {
	e := b[sectorSize:]
	le.PutUint64(e[32:], marvin32(e[:32]))
	return b
}
