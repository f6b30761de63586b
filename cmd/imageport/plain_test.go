package main

import "testing"

// What somebody else says does nothing to the terminal.
func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"win10.vhdx, größer\tals\nzuvor": "win10.vhdx, größer\tals\nzuvor",
		"\x1b[2J\x07done\r":              "�[2J�done�",
		"a\u202eb":                       "a�b",
	} {
		if got := plain(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
