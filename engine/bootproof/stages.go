package bootproof

import (
	"fmt"
	"strings"
	"time"

	"imageport/job"
)

// The stages, in order: what job.BootProof.Reached is, and what an entry of its
// Stages begins with; a colon and what was seen follow.
const (
	// FirmwareStarted: firmware has written to its serial console.
	FirmwareStarted = "firmware started"
	// BootManagerFound: firmware has read \EFI\Boot\bootx64.efi from the disk's
	// EFI system partition, and says so.
	BootManagerFound = "boot manager found"
	// BootManagerStarted: firmware says that it starts it.
	BootManagerStarted = "boot manager started"
	// BootManagerRuns: since then the disk was read, or the console written to,
	// or firmware has not had the machine back for a while.
	BootManagerRuns = "boot manager runs"
	// WindowsRead: the boot manager has read from Options.WindowsRange.
	WindowsRead = "Windows partition read"
	// LoaderRead: all of Options.Loader was read, which only Windows' boot
	// manager has a reason to.
	LoaderRead = "Windows loader read"
	// MarkerSeen: a line of the console matched Options.Marker.
	MarkerSeen = "marker seen"
)

// sight is all that is to be seen of a machine at one moment.
type sight struct {
	at       time.Duration // since its start
	firmware string        // how it runs: for people
	heard    heard
	read     tally
	off      string // why the machine has stopped itself, in QEMU's words; or empty
	written  int64  // to the file of changes, in bytes
	screen   uint64 // another one when the picture is another one
}

const (
	// runsAfter is how long a boot manager has not returned when that alone is
	// a sign of its running.
	runsAfter = 5 * time.Second
	// maxWritten ends the boot of a Windows that is busy installing itself.
	maxWritten = 1 << 30
)

// story decides when there is nothing more to see.
type story struct {
	opt   Options
	last  sight
	still time.Duration // since when last has not changed
}

// ending is why a boot has ended, for people; refused says that the disk did
// not boot.
type ending struct {
	why     string
	refused bool
}

// see takes the next sight, and reports whether it is the last one.
func (s *story) see(now sight) (ending, bool) {
	if changed(s.last, now) {
		s.still = now.at
	}
	s.last = now
	if why := gaveUp(now.heard); why != "" {
		return ending{why, true}, true
	}
	started := now.heard.started()
	switch {
	case now.heard.marked != "":
		return ending{why: "the marker appeared"}, true
	case now.off != "" && !started:
		return ending{fmt.Sprintf("the machine stopped (%s) before firmware started a boot manager", now.off), true}, true
	case now.off != "":
		return ending{why: fmt.Sprintf("the machine was %s", stopWord(now.off))}, true
	case now.written > maxWritten:
		return ending{why: fmt.Sprintf("the machine had written %d MiB", now.written>>20)}, true
	case now.at >= s.opt.Timeout && !started:
		return ending{fmt.Sprintf("firmware did not start a boot manager within %v", s.opt.Timeout), true}, true
	case now.at >= s.opt.Timeout:
		return ending{why: "the time was over"}, true
	case started && (s.opt.WindowsRange.Length == 0 || now.read.windows > 0) && now.at-s.still >= s.opt.Quiet:
		return ending{why: fmt.Sprintf("screen, console and disk were still for %v", s.opt.Quiet)}, true
	}
	return ending{}, false
}

func changed(a, b sight) bool {
	return a.screen != b.screen || a.heard.bytes != b.heard.bytes || a.read != b.read || a.written != b.written
}

// gaveUp is firmware's way to say that it has nothing to boot, or had and has
// not any more: it turns to an entry of its own.
func gaveUp(h heard) string {
	if h.nothing != "" && !h.started() {
		return "firmware found nothing to boot: it says " + quote(h.nothing)
	}
	for _, r := range h.reports {
		if !r.own() && r.verb != "failed to start" {
			continue
		}
		failed, has := h.find("failed to start")
		switch {
		case has:
			return "the boot manager returned to firmware, which says " + quote(failed.text)
		case h.started():
			return "the boot manager returned to firmware, which goes on with " + quote(r.text)
		}
		if failed, has = h.find("failed to load"); has {
			return "firmware found no boot manager on the disk: it says " + quote(failed.text)
		}
		return "firmware did not see the disk: it says " + quote(r.text)
	}
	return ""
}

func stopWord(reason string) string {
	switch reason {
	case "guest-shutdown":
		return "switched off by what it ran"
	case "guest-reset":
		return "reset by what it ran"
	}
	return "stopped (" + reason + ")"
}

// stages are those that were seen. A boot manager that has come back is not said
// to run, whatever was read.
func (s sight) stages(end ending) []stage {
	var seen []stage
	add := func(name, format string, args ...any) {
		seen = append(seen, stage{name, fmt.Sprintf(format, args...)})
	}
	h := s.heard
	if h.bytes > 0 {
		add(FirmwareStarted, "%s wrote to the serial console after %s", s.firmware, seconds(h.first))
	}
	if r, ok := h.find("loading"); ok {
		add(BootManagerFound, "%s after %s", quote(r.text), seconds(r.at))
	}
	begin, started := h.find("starting")
	if started {
		add(BootManagerStarted, "%s after %s", quote(begin.text), seconds(begin.at))
	}
	if !started || end.refused {
		return seen
	}
	switch {
	case h.said != "":
		add(BootManagerRuns, "it wrote to the console: %s", quote(h.said))
	case s.read.disk > 0:
		add(BootManagerRuns, "it read %d bytes from the disk", s.read.disk)
	case s.at-begin.at >= runsAfter:
		add(BootManagerRuns, "it had not returned to firmware after %s", seconds(s.at-begin.at))
	}
	if s.read.windows > 0 {
		part := ""
		if s.read.loaderSize > 0 {
			part = fmt.Sprintf("; and %d of the %d bytes of the Windows loader", s.read.loader, s.read.loaderSize)
		}
		add(WindowsRead, "%d bytes after the boot manager was found%s", s.read.windows, part)
	}
	if s.read.loaderSize > 0 && s.read.loader == s.read.loaderSize {
		add(LoaderRead, "all %d bytes", s.read.loaderSize)
	}
	if h.marked != "" {
		add(MarkerSeen, "%s", quote(h.marked))
	}
	return seen
}

type stage struct{ name, seen string }

// proof is the report on a boot that ended so.
func (s sight) proof(end ending) job.BootProof {
	p := job.BootProof{Seconds: s.at.Round(100 * time.Millisecond).Seconds(), Stages: []string{}}
	for _, stage := range s.stages(end) {
		p.Reached = stage.name
		p.Stages = append(p.Stages, stage.name+": "+stage.seen)
	}
	if last := len(p.Stages) - 1; last >= 0 && end.why != "" {
		p.Stages[last] += "; the boot ended after " + seconds(s.at) + ": " + end.why
	}
	return p
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// quote gives words of the machine as one short line.
func quote(words string) string {
	const most = 240
	words = strings.Join(strings.Fields(strings.ToValidUTF8(words, "")), " ")
	if len(words) > most {
		words = strings.ToValidUTF8(words[:most], "") + "..."
	}
	return `"` + words + `"`
}
