package ntfsmount

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// The kinds of refusal and failure. Errors of the disk below, and the cause of
// the context's end, are wrapped too.
var (
	// ErrMissing: ntfs-3g is not installed.
	ErrMissing = errors.New("ntfs-3g is not installed (Debian package ntfs-3g)")
	// ErrTool: ntfs-3g could not work, or has failed for a reason that is none of
	// the others'.
	ErrTool = errors.New("ntfs-3g failed")
	// ErrHibernated: Windows has hibernated, or was shut down for a fast start:
	// what it has in its cache belongs to the volume.
	ErrHibernated = errors.New("the NTFS volume is in use by a hibernated Windows")
	// ErrUnclean: Windows has not dismounted the volume: its journal is in use.
	ErrUnclean = errors.New("the NTFS volume was not dismounted")
	// ErrReadOnly: ntfs-3g would have the volume only for reading. It is wrapped
	// together with the reason, where that is known.
	ErrReadOnly = errors.New("ntfs-3g mounts the NTFS volume for reading only")
	// ErrCorrupt: there is no NTFS volume, or it contradicts itself.
	ErrCorrupt = errors.New("the NTFS volume is corrupt")
	// ErrBusy: something outside of this process still used a file of the volume
	// when it was closed.
	ErrBusy = errors.New("the NTFS volume is still in use")
	// ErrClosed: the volume is not mounted any more.
	ErrClosed = errors.New("the NTFS volume is not mounted any more")
)

// Exit codes of ntfs-3g (ntfs-3g(8), libntfs-3g/volume.h).
var exitCodes = map[int]error{
	12: ErrCorrupt, // not an NTFS volume
	13: ErrCorrupt,
	14: ErrHibernated,
	15: ErrUnclean,
}

// reasons tell why ntfs-3g does not write, of its own words: it mounts a volume
// for reading then, and calls that a success.
var reasons = []struct {
	words string
	kind  error
}{
	{"hibernated", ErrHibernated},
	{"Metadata kept in Windows cache", ErrHibernated},
	{"unclean file system", ErrUnclean},
	{"restart pages in $LogFile", ErrUnclean},
}

// readOnly makes an error of what ntfs-3g has said of a volume that it does not
// write.
func readOnly(output, path string) error {
	for _, r := range reasons {
		if strings.Contains(output, r.words) {
			return fmt.Errorf("%w: %w: %s", ErrReadOnly, r.kind, ownWords(output, path))
		}
	}
	return fmt.Errorf("%w: %s", ErrReadOnly, ownWords(output, path))
}

// refusal makes an error of how ntfs-3g has ended before the volume was mounted.
func refusal(end error, output, path string) error {
	said := ownWords(output, path)
	if exit, ok := errors.AsType[*exec.ExitError](end); ok {
		if kind, known := exitCodes[exit.ExitCode()]; known {
			return fmt.Errorf("%w: %s", kind, said)
		}
	}
	if end == nil {
		return fmt.Errorf("%w: it has ended: %s", ErrTool, said)
	}
	return fmt.Errorf("%w: %w: %s", ErrTool, end, said)
}

// maxWords bounds a quotation, in bytes.
const maxWords = 400

// ownWords quotes ntfs-3g as one line. The file's path, which is another one
// every time, is replaced.
func ownWords(output, path string) string {
	said := strings.Join(strings.Fields(strings.ReplaceAll(output, path, "the volume")), " ")
	if len(said) > maxWords {
		said = said[:maxWords] + "..."
	}
	return fmt.Sprintf("ntfs-3g says %q", strings.ToValidUTF8(said, ""))
}
