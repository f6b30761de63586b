package inject

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"imageport/engine/windows/ntfs"
	"imageport/engine/windows/offline"
	"imageport/firstboot/plan"
)

// Outcome is what a runner has left on the disk.
type Outcome struct {
	// State is nil if there is none: the runner was never started, or Torn says
	// why what there is cannot be used.
	State *plan.State `json:"state,omitempty"`
	Torn  string      `json:"torn,omitempty"`
	// Log is the end of the runner's log.
	Log string `json:"log,omitempty"`
	// Logs are the newest ones of installers, the newest first.
	Logs []Log `json:"logs,omitempty"`
}

// Log is the end of a log.
type Log struct {
	Name string `json:"name"`
	Tail string `json:"tail"`
}

// Bounds of what is given of logs, in bytes of UTF-8, and how many they are.
const (
	maxLog  = 16 << 10
	maxTail = 4 << 10
	maxLogs = 4
)

// Read reads what a runner has left, from a volume in any state: also of one that
// was switched off. What there is and cannot be read is said in its place; the
// error is job.NTFSCorrupt if nothing can be read at all, or one of the disk.
func Read(ctx context.Context, d io.ReaderAt, p Partition) (Outcome, error) {
	v, err := openVolume(d, p)
	if err != nil {
		return Outcome{}, err
	}
	var o Outcome
	if err := o.readState(v); err != nil {
		return Outcome{}, err
	}
	if o.Log, err = readTail(v, folder+`\`+plan.LogFile, maxLog); err != nil {
		return Outcome{}, err
	}
	list, err := newestLogs(v)
	if err != nil {
		return o, err
	}
	for _, name := range list {
		if err := ctx.Err(); err != nil {
			return Outcome{}, context.Cause(ctx)
		}
		tail, err := readTail(v, logs+`\`+name, maxTail)
		if err != nil {
			return Outcome{}, err
		}
		o.Logs = append(o.Logs, Log{strings.ToValidUTF8(name, "\uFFFD"), tail})
	}
	return o, nil
}

// maxSearched is how much of the end of a log LogsSay looks at, in bytes of UTF-8:
// Windows Installer ends a log with all of its properties.
const maxSearched = 1 << 20

// LogsSay reports whether something is in the logs that Read gives, also in front
// of their ends. What cannot be read says nothing; the error is as that of Read.
func LogsSay(ctx context.Context, d io.ReaderAt, p Partition, what *regexp.Regexp) (bool, error) {
	v, err := openVolume(d, p)
	if err != nil {
		return false, err
	}
	list, err := newestLogs(v)
	if err != nil {
		return false, err
	}
	for _, name := range list {
		if err := ctx.Err(); err != nil {
			return false, context.Cause(ctx)
		}
		text, err := readTail(v, logs+`\`+name, maxSearched)
		if err != nil {
			return false, err
		}
		if what.MatchString(text) {
			return true, nil
		}
	}
	return false, nil
}

// logs is the folder of installers' logs on its volume.
var logs = folder + `\` + plan.LogDir

// newestLogs gives the names of some logs, the newest first; none of a folder that
// cannot be read.
func newestLogs(v *offline.Volume) ([]string, error) {
	list, err := v.NTFS.ReadDir(logs)
	if err != nil {
		_, err := unreadable(v, err)
		return nil, err
	}
	list = slices.DeleteFunc(list, func(e ntfs.Entry) bool { return e.IsDir })
	slices.SortFunc(list, func(a, b ntfs.Entry) int {
		return cmp.Or(b.ModTime.Compare(a.ModTime), strings.Compare(a.Name, b.Name))
	})
	var names []string
	for _, e := range list[:min(len(list), maxLogs)] {
		names = append(names, e.Name)
	}
	return names, nil
}

func (o *Outcome) readState(v *offline.Volume) error {
	f, err := v.NTFS.Open(folder + `\` + plan.StateFile)
	var b []byte
	if err == nil {
		if f.Size() > plan.MaxStateBytes {
			o.Torn = fmt.Sprintf("%s has %d bytes, at most %d expected", plan.StateFile, f.Size(), plan.MaxStateBytes)
			return nil
		}
		b, err = f.ReadAll(plan.MaxStateBytes)
	}
	if err != nil {
		o.Torn, err = unreadable(v, err)
		return err
	}
	state, err := plan.ParseState(b)
	if err != nil {
		o.Torn = plan.StateFile + ": " + err.Error()
		return nil
	}
	o.State = &state
	return nil
}

// unreadable tells errors of the volume, which are told people, and of a file
// that is not there, which are none, from those of the disk.
func unreadable(v *offline.Volume, err error) (string, error) {
	for _, own := range []error{ntfs.ErrCorrupt, ntfs.ErrUnsupported, ntfs.ErrNotNTFS} {
		if errors.Is(err, own) {
			return v.Fault(err).Error(), nil
		}
	}
	if errors.Is(err, ntfs.ErrNotFound) {
		return "", nil
	}
	return "", v.Fault(err)
}

// readTail reads the end of a log. Where it cannot be read, it says why.
func readTail(v *offline.Volume, path string, limit int) (string, error) {
	f, err := v.NTFS.Open(path)
	if err != nil {
		return unreadable(v, err)
	}
	head := make([]byte, 2)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return unreadable(v, err)
	}
	enc := encodingOf(head[:n])
	from := max(0, f.Size()-int64(enc.longest(limit)))
	if enc == utf16le {
		from += from % 2
	}
	b := make([]byte, f.Size()-from)
	if n, err = f.ReadAt(b, from); err != nil && err != io.EOF {
		return unreadable(v, err)
	}
	return enc.tail(b[:n], limit), nil
}
