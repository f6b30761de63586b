package copier

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// run is a stretch of finished units, from first to before end, and the
// CRC-32C of its bytes where one is kept.
type run struct {
	first, end int64
	crc        uint32
}

// runs is a set of finished units: ascending, and never touching each other.
// Work that goes through a disk in windows leaves few of them, whatever the
// size of the disk.
type runs []run

// at is the index of the first run that ends behind the unit.
func (r runs) at(unit int64) int {
	return sort.Search(len(r), func(i int) bool { return r[i].end > unit })
}

func (r runs) contains(unit int64) bool {
	i := r.at(unit)
	return i < len(r) && r[i].first <= unit
}

// add puts in units of which none is in the set yet, and joins neighbours.
func (r runs) add(n run, geo geometry, crc bool) runs {
	join := func(a, b run) run {
		if crc {
			a.crc = crcConcat(a.crc, b.crc, geo.bytes(b.first, b.end))
		}
		a.end = b.end
		return a
	}
	i := r.at(n.first)
	from, to := i, i
	if i > 0 && r[i-1].end == n.first {
		from--
		n = join(r[from], n)
	}
	if i < len(r) && r[i].first == n.end {
		n = join(n, r[i])
		to++
	}
	return slices.Replace(r, from, to, n)
}

// gaps are the stretches of [first, end) that are not in the set.
func (r runs) gaps(first, end int64, yield func(first, end int64) error) error {
	for i := r.at(first); first < end; i++ {
		stop, next := end, end
		if i < len(r) {
			stop, next = min(r[i].first, end), r[i].end
		}
		if first < stop {
			if err := yield(first, stop); err != nil {
				return err
			}
		}
		first = next
	}
	return nil
}

// bytes is the length of all runs in bytes.
func (r runs) bytes(geo geometry) int64 {
	var n int64
	for _, run := range r {
		n += geo.bytes(run.first, run.end)
	}
	return n
}

// format writes "0-1023 1030-1031": first and last unit, and with crc
// "0-1023:9ae0daaf".
func (r runs) format(crc bool) string {
	var b strings.Builder
	for i, run := range r {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%d-%d", run.first, run.end-1)
		if crc {
			fmt.Fprintf(&b, ":%08x", run.crc)
		}
	}
	return b.String()
}

// parseRuns reads what format wrote about a disk of so many units.
func parseRuns(s string, units int64, crc bool) (runs, error) {
	var r runs
	next := int64(0) // the first unit that a run may begin with
	for word := range strings.FieldsSeq(s) {
		bad := func(what string) error {
			return fmt.Errorf("copier: run %q of a state: %s: %w", word, what, ErrState)
		}
		span, sum, hasCRC := strings.Cut(word, ":")
		if hasCRC != crc {
			return nil, bad("CRC missing or not expected")
		}
		first, last, _ := strings.Cut(span, "-")
		var n run
		var err error
		if n.first, err = strconv.ParseInt(first, 10, 64); err != nil {
			return nil, bad("no number before the dash")
		}
		if n.end, err = strconv.ParseInt(last, 10, 64); err != nil {
			return nil, bad("no number behind the dash")
		}
		if n.first < next || n.end < n.first || n.end >= units {
			return nil, bad(fmt.Sprintf("expected ascending and apart, units %d to %d", next, units-1))
		}
		n.end++
		if crc {
			value, err := strconv.ParseUint(sum, 16, 32)
			if err != nil {
				return nil, bad("no CRC")
			}
			n.crc = uint32(value)
		}
		r = append(r, n)
		next = n.end + 1
	}
	return r, nil
}
