package blockdev

import (
	"slices"
	"strings"
	"testing"
)

func FuzzPage83(f *testing.F) {
	f.Add([]byte("\x00\x83\x00\x0b\x02\x00\x00\x07ce-data"))
	f.Add([]byte("\x00\x83\xff\xff\x02\x00\x00\x07ce"))
	f.Fuzz(func(t *testing.T, page []byte) {
		for _, name := range page83(page) {
			if !strings.Contains(string(page), name) {
				t.Errorf("%q is not in %q", name, page)
			}
		}
		if long := slices.Concat(page, []byte("\x02\x00\x00\x01x")); len(page) >= 4 && int(page[2])<<8+int(page[3]) <= len(page)-4 && !slices.Equal(page83(page), page83(long)) {
			t.Errorf("what is behind the page %q counts", page)
		}
	})
}
