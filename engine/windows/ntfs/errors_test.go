package ntfs

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func isNotFound(err error) bool {
	return errors.Is(err, ErrNotFound) && errors.Is(err, fs.ErrNotExist)
}

func isUnsupported(err error) bool { return errors.Is(err, ErrUnsupported) }

// wantCorrupt checks that an error is ErrCorrupt and says what and where.
func wantCorrupt(t testing.TB, err error, mentions ...string) {
	t.Helper()
	if !errors.Is(err, ErrCorrupt) {
		t.Fatalf("%v, want ErrCorrupt", err)
	}
	for _, m := range mentions {
		if !strings.Contains(err.Error(), m) {
			t.Errorf("%q does not mention %q", err, m)
		}
	}
}
