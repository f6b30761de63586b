package ntfsmount

import (
	"errors"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for _, c := range []struct {
		output string
		want   error
		says   string
	}{
		{"Windows is hibernated, refused to mount.", ErrHibernated, "refused"},
		{"The disk contains an unclean file system (0, 1).\nMetadata kept in Windows cache, refused to mount.\nFalling back to read-only mount", ErrHibernated, "Falling back"},
		{"The disk contains an unclean file system (1, 0).", ErrUnclean, "(1, 0)"},
		{"Mounted /tmp/x/volume (Read-Only)", ErrReadOnly, "Mounted the volume (Read-Only)"},
		{strings.Repeat("é", maxWords), ErrReadOnly, "..."},
		{"", ErrReadOnly, `""`},
	} {
		err := readOnly(c.output, "/tmp/x/volume")
		if !errors.Is(err, ErrReadOnly) || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || len(err.Error()) > maxWords+300 {
			t.Errorf("%q: %v", c.output, err)
		}
	}
}

func FuzzWords(f *testing.F) {
	f.Add("Windows is hibernated, refused to mount.")
	f.Fuzz(func(t *testing.T, output string) {
		if err := readOnly(output, "/tmp/x/volume"); !errors.Is(err, ErrReadOnly) {
			t.Error(err)
		}
		if err := refusal(nil, output, "/tmp/x/volume"); !errors.Is(err, ErrTool) {
			t.Error(err)
		}
	})
}
