package hive

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Recovered is a hive that is clean, and how it became so.
type Recovered struct {
	Hive     []byte // the file; the primary itself if that was clean already
	Replayed bool   // false: the primary was clean, and its logs do not matter

	BaseBlockLost bool      // the primary's base block had a wrong checksum; a log's took its place
	Before        [2]uint32 // the sequence numbers that the primary had
	After         uint32    // both sequence numbers now
	Logs          []LogUse  // for each log given, what of it was applied
}

// LogUse is what Replay did with one log.
type LogUse struct {
	OldFormat   bool   // the format before Windows 8.1: one write, of pages of 512 bytes
	Entries     int    // applied; 0 for a log that was not needed
	Pages       int    // applied, as the log counts them
	First, Last uint32 // sequence numbers of the entries applied

	// Ignored is why the log, or what is left of it after the entries applied,
	// was not used: an interrupted write, or older than the hive.
	Ignored error
}

// Replay applies to a hive that is dirty the transaction logs beside it, as
// Windows does when it loads the hive. Logs are the contents of .LOG1 and .LOG2
// in this order; empty and nil ones count as absent. The arguments are not
// changed.
//
// Of the new format, both logs are applied from the entry that the hive has not
// passed, as far as the sequence numbers go on. Of the old one it is the log of
// the write that did not complete. A base block with a wrong checksum is taken
// from the newest log.
//
// Replay is stricter than Windows: it refuses logs that hold later changes that
// cannot be applied because one before is missing, logs of another hive, and
// logs after which the hive does not decode from the root to the last value.
// These errors are ErrLogUnusable; ErrNotHive is for a file that never was one.
func Replay(primary []byte, logs ...[]byte) (Recovered, error) {
	p, err := newReplaying(primary)
	if err != nil {
		return Recovered{}, err
	}
	if p.clean() {
		return Recovered{Hive: primary, Before: p.before(), After: p.seq2, Logs: make([]LogUse, len(logs))}, nil
	}
	chain := p.choose(logs)
	if len(chain) == 0 {
		return Recovered{}, p.unusable("%s", p.reasons())
	}
	if err := p.complete(chain); err != nil {
		return Recovered{}, err
	}
	b, err := p.apply(chain)
	if err != nil {
		return Recovered{}, err
	}
	h, err := Parse(b)
	if err == nil {
		_, err = h.Root()
	}
	if err != nil {
		return Recovered{}, p.unusable("after applying them the hive is not whole: %v", err)
	}
	return Recovered{Hive: b, Replayed: true, BaseBlockLost: !p.intact, Before: p.before(), After: le.Uint32(b[4:]), Logs: p.uses}, nil
}

// replaying is one run of Replay.
type replaying struct {
	primary    []byte
	intact     bool // the base block's checksum is right
	seq1, seq2 uint32
	logs       []*logFile // those that matter, else nil
	unused     []unusedLog
	uses       []LogUse
}

// unusedLog is a log that there is, and that may hold changes that the hive
// lacks, but cannot be applied.
type unusedLog struct {
	number int
	log    *logFile // nil if not even the base block is sound
}

// errPassed is for a log whose changes are all in the hive.
var errPassed = errors.New("the hive has passed that")

func newReplaying(b []byte) (*replaying, error) {
	if len(b) < baseBlockSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrNotHive, len(b))
	}
	p := &replaying{primary: b, seq1: le.Uint32(b[4:]), seq2: le.Uint32(b[8:])}
	p.intact = string(b[:4]) == "regf" && checksum(b) == le.Uint32(b[checksumAt:])
	if p.intact {
		return p, checkPrimary(b)
	}
	if string(b[:4]) != "regf" && !bytes.HasPrefix(b[baseBlockSize:], []byte("hbin")) {
		return nil, fmt.Errorf("%w: neither a base block nor a bin in %d bytes", ErrNotHive, len(b))
	}
	return p, nil
}

func (p *replaying) clean() bool       { return p.intact && p.seq1 == p.seq2 }
func (p *replaying) before() [2]uint32 { return [2]uint32{p.seq1, p.seq2} }

func (p *replaying) unusable(format string, args ...any) error {
	state := fmt.Sprintf("sequence numbers %d and %d", p.seq1, p.seq2)
	if !p.intact {
		state = "base block with a wrong checksum"
	}
	return fmt.Errorf("%w (%s): %s", ErrLogUnusable, state, fmt.Sprintf(format, args...))
}

// reasons is why logs were not used.
func (p *replaying) reasons() string {
	var list []string
	for i, u := range p.uses {
		if u.Ignored != nil {
			list = append(list, fmt.Sprintf("log %d: %v", i+1, u.Ignored))
		}
	}
	if len(list) == 0 {
		return "no log"
	}
	return strings.Join(list, "; ")
}

// choose reads the logs and returns those to apply, in order.
func (p *replaying) choose(logs [][]byte) []*logFile {
	p.logs, p.uses = make([]*logFile, len(logs)), make([]LogUse, len(logs))
	var current, old []*logFile
	for i, b := range logs {
		l, err := parseLog(b)
		if err == nil {
			p.uses[i].OldFormat = l.old
			err = p.eligible(l)
		}
		if err != nil {
			p.uses[i].Ignored = err
			old := l != nil && l.old
			if !old && !errors.Is(err, errNoLog) && !errors.Is(err, errPassed) {
				p.unused = append(p.unused, unusedLog{i + 1, l})
			}
			continue
		}
		p.logs[i], p.uses[i].Ignored = l, l.stop
		if l.old {
			old = append(old, l)
		} else {
			current = append(current, l)
		}
	}
	if len(current) == 0 {
		return p.newest(old)
	}
	for _, l := range old {
		p.ignore(l, errors.New("there are logs of the new format"))
	}
	return p.chain(current)
}

func (p *replaying) ignore(l *logFile, why error) {
	i := slices.Index(p.logs, l)
	p.logs[i], p.uses[i].Ignored = nil, why
}

// eligible checks that a log is of this hive, and has what the hive lacks.
func (p *replaying) eligible(l *logFile) error {
	if !p.intact {
		if !l.old {
			return nil
		}
		// The write updates the time in the first bin after the log is complete.
		if bin, log := p.firstBinTime(), le.Uint64(l.base[12:]); log < bin {
			return fmt.Errorf("written at %v, before the hive's first bin (%v)", fromFiletime(log), fromFiletime(bin))
		}
		return nil
	}
	if err := sameHive(p.primary, l.base); err != nil {
		return err
	}
	if !l.old {
		switch {
		case !later(p.seq2, l.seq):
			return nil
		case later(p.seq2, l.lost):
			return fmt.Errorf("its entries end at %d: %w", l.lastSeq(), errPassed)
		}
		return fmt.Errorf("its entries begin at %d, before the hive's write, and end at %d, after it", l.seq, l.lastSeq())
	}
	if hive, log := le.Uint64(p.primary[12:]), le.Uint64(l.base[12:]); hive != log {
		return fmt.Errorf("it is of the write at %v, the hive of that at %v", fromFiletime(log), fromFiletime(hive))
	}
	if l.seq != p.seq1 && l.seq != p.seq2 { // the latter before Windows Vista
		return fmt.Errorf("its sequence number is %d", l.seq)
	}
	return nil
}

func (p *replaying) firstBinTime() uint64 {
	if len(p.primary) < baseBlockSize+binHeaderSize {
		return 0
	}
	return le.Uint64(p.primary[baseBlockSize+20:])
}

// sameHive compares what the base blocks of a hive and its log have in common:
// the root's cell and the resource manager's GUID. Windows loads hives by other
// names too, so that a name tells hives apart only where there is no GUID.
func sameHive(hive, log []byte) error {
	if a, b := le.Uint32(hive[36:]), le.Uint32(log[36:]); a != b {
		return fmt.Errorf("not of this hive: root cell %#x, the hive's is %#x", b, a)
	}
	var zero [16]byte
	a, b := hive[112:128], log[112:128]
	if !bytes.Equal(a, zero[:]) && !bytes.Equal(b, zero[:]) {
		if !bytes.Equal(a, b) {
			return fmt.Errorf("not of this hive: resource manager %x, the hive's is %x", b, a)
		}
		return nil
	}
	if a, b := baseBlockName(hive), baseBlockName(log); a != b {
		return fmt.Errorf("not of this hive: its name is %q, the hive's %q", b, a)
	}
	return nil
}

// newest returns the newest of logs of the old format.
func (p *replaying) newest(logs []*logFile) []*logFile {
	slices.SortStableFunc(logs, func(a, b *logFile) int {
		if c := cmp.Compare(le.Uint64(b.base[12:]), le.Uint64(a.base[12:])); c != 0 {
			return c
		}
		return compareSeq(b.seq, a.seq)
	})
	n := min(1, len(logs))
	for _, l := range logs[n:] {
		p.ignore(l, errors.New("the other log is newer"))
	}
	return logs[:n]
}

// chain returns the logs whose entries go on from one log to the next: from the
// earliest one that the hive needs, or if the hive cannot tell, up to the latest.
func (p *replaying) chain(logs []*logFile) []*logFile {
	slices.SortStableFunc(logs, func(a, b *logFile) int { return compareSeq(a.seq, b.seq) })
	for i := 1; i < len(logs); {
		switch last := logs[i-1].lastSeq(); {
		case logs[i].seq == last+1:
			i++
		case !p.intact:
			for _, l := range logs[:i] {
				p.ignore(l, fmt.Errorf("its entries end at %d, the newest log's begin at %d", l.lastSeq(), logs[i].seq))
			}
			logs, i = logs[i:], 1
		case later(logs[i].lost, last):
			p.uses[slices.Index(p.logs, logs[i])].Ignored = fmt.Errorf("its entries begin at %d, those before end at %d", logs[i].seq, last)
			return logs[:i]
		default:
			p.ignore(logs[i], fmt.Errorf("its entries end at %d, the other log's at %d", logs[i].lastSeq(), last))
			logs = slices.Delete(logs, i, i+1)
		}
	}
	return logs
}

// complete checks that, as far as can be seen, no change is missing before or
// among those in the logs to apply.
func (p *replaying) complete(chain []*logFile) error {
	first, last := chain[0].seq, chain[len(chain)-1].lastSeq()
	check := func(number int, l *logFile) error {
		if later(l.lost, last) {
			return p.unusable("log %d holds changes up to %d, but those after %d are not there (%s)",
				number, l.lost, last, p.reasons())
		}
		return nil
	}
	for i, l := range p.logs {
		if l == nil {
			continue
		}
		if err := check(i+1, l); err != nil {
			return err
		}
	}
	// Windows may write the hive and leave its sequence number, so that one that
	// is less than the first entry's says nothing. The entries between may also
	// be in a log that cannot be used, unless that is the one to write next.
	mayLack := !chain[0].old && (!p.intact || first != p.seq2)
	for _, u := range p.unused {
		if u.log != nil {
			if err := check(u.number, u.log); err != nil {
				return err
			}
			if u.log.seq == last+1 {
				continue
			}
		}
		if mayLack {
			return p.unusable("log %d cannot be used, and may have held changes before %d (%s)", u.number, first, p.reasons())
		}
	}
	return nil
}

// apply returns the hive with the entries of logs in it, clean.
func (p *replaying) apply(logs []*logFile) ([]byte, error) {
	room := int64(len(p.primary)) - baseBlockSize
	binned, most := uint32(0), uint32(0)
	for _, l := range logs {
		for _, e := range l.entries {
			binned, most = e.binned, max(most, e.binned)
			for _, page := range e.pages {
				room += int64(len(page.data))
			}
		}
	}
	if int64(most) > room || most > maxBins {
		return nil, p.unusable("logs say %#x bytes of bins; hive and pages have no more than %#x", most, room)
	}
	b := make([]byte, max(len(p.primary), baseBlockSize+int(most)))
	copy(b, p.primary)
	if !p.intact {
		copy(b, logs[len(logs)-1].base)
		le.PutUint32(b[28:], 0)
	}
	for _, l := range logs {
		use := &p.uses[slices.Index(p.logs, l)]
		use.Entries, use.First, use.Last = len(l.entries), l.seq, l.lastSeq()
		for _, e := range l.entries {
			use.Pages += len(e.pages)
			for _, page := range e.pages {
				copy(b[baseBlockSize+page.off:], page.data)
			}
			le.PutUint32(b[144:], le.Uint32(b[144:])&^1|e.flags&1)
		}
	}
	b = b[:max(len(p.primary), baseBlockSize+int(binned))]
	// Later than every entry: were the hive to become dirty again, the next
	// replay would not begin with these.
	seq := logs[len(logs)-1].lastSeq() + 1
	if p.intact && later(p.seq1, seq) {
		seq = p.seq1
	}
	le.PutUint32(b[40:], binned)
	seal(b, seq)
	return b, nil
}
