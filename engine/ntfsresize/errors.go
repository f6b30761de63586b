package ntfsresize

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds of refusal and failure. Errors of the volume below, of the context
// and of package ntfs are wrapped too, where they are the cause.
var (
	// ErrMissing: ntfsresize is not installed.
	ErrMissing = errors.New("ntfsresize is not installed (Debian package ntfs-3g)")
	// ErrTool: ntfsresize could not work, or has failed for a reason that is
	// none of the others'.
	ErrTool = errors.New("ntfsresize failed")
	// ErrSize: the new size is not smaller, or not a whole number of sectors.
	ErrSize = errors.New("not a size that the NTFS volume can be shrunk to")
	// ErrTooSmall: the volume's data does not fit in the new size.
	ErrTooSmall = errors.New("the NTFS volume cannot be made that small")
	// ErrBlocked: something on the volume cannot be moved, at any size or at
	// this one: bad sectors, or fragmentation of a kind.
	ErrBlocked = errors.New("the NTFS volume cannot be shrunk")
	// ErrUnclean: Windows has not left the volume in order: chkdsk is due, the
	// journal is in use, or Windows hibernates.
	ErrUnclean = errors.New("the NTFS volume is not clean")
	// ErrCorrupt: the volume contradicts itself, as ntfsresize sees it.
	ErrCorrupt = errors.New("the NTFS volume is corrupt")
	// ErrVerify: what ntfsresize says it has done is not what the volume shows.
	ErrVerify = errors.New("the shrunken NTFS volume is not as it should be")
)

// verdicts tell the kinds of failure apart: ntfsresize has one exit code for
// all. It calls its own texts stable, as other programs look for them.
var verdicts = []struct {
	words string
	kind  error
}{
	{"occupied by data", ErrTooSmall},
	{"Volume is full", ErrBlocked},
	{"The fragmentation type, you have", ErrBlocked},
	{"Very rare fragmentation type", ErrBlocked},
	{"Highly fragmented $Bitmap", ErrBlocked},
	{"Multi-run $MFTMirr", ErrBlocked},
	{"bad sector", ErrBlocked},
	{"scheduled for check", ErrUnclean},
	{"is hibernated", ErrUnclean},
	{"journal file is unclean", ErrUnclean},
	{"NTFS is inconsistent", ErrCorrupt},
	{"Filesystem check failed", ErrCorrupt},
	{"bigger than the device", ErrCorrupt},
	{"$Bitmap size is smaller", ErrCorrupt},
	{"Corrupt runlist", ErrCorrupt},
	{"Corrupt attribute", ErrCorrupt},
}

// refusal makes an error of how ntfsresize has ended, and what it has said. The
// file's path, which is another one every time, is replaced.
func refusal(end error, output, path string) error {
	said := ownWords(strings.ReplaceAll(output, path, "the volume"))
	for _, v := range verdicts {
		if strings.Contains(output, v.words) {
			return fmt.Errorf("%w: %s", v.kind, said)
		}
	}
	return fmt.Errorf("%w: %w: %s", ErrTool, end, said)
}

// maxWords bounds a quotation, in bytes.
const maxWords = 400

// ownWords is what ntfsresize says is wrong: from the first line on that is
// marked so, as one line; without such a line the last one.
func ownWords(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	from := len(lines) - 1
	for i, line := range lines {
		if strings.HasPrefix(line, "ERROR") {
			from = i
			break
		}
	}
	said := strings.Join(strings.Fields(strings.ReplaceAll(strings.Join(lines[from:], " "), "*", " ")), " ")
	if len(said) > maxWords {
		said = strings.ToValidUTF8(said[:maxWords], "") + "..."
	}
	return fmt.Sprintf("ntfsresize says %q", said)
}
