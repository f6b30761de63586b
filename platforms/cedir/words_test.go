package cedir

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"imageport/job/seed"
)

func TestTail(t *testing.T) {
	for _, tc := range []struct {
		log  string
		want []string
	}{
		{"", nil},
		{"\n\r\n \n", nil},
		{"one\r\ntwo\n", []string{"one", "two"}},
		{"\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: x\x1b[0m", []string{"BdsDxe: x"}},
		{"\x1bc\x1b[?7lSeaBIOS\x07 \xff\xfe(1)", []string{"cSeaBIOS (1)"}},
		{"half a sequence \x1b[31", []string{"half a sequence"}},
		{strings.Repeat("x", 200) + "\nend", []string{strings.Repeat("x", 96), "end"}},
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(tc.log), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := Tail(path, 100); !slices.Equal(got, tc.want) {
			t.Errorf("%q: %q, want %q", tc.log, got, tc.want)
		}
		last := ""
		if n := len(tc.want); n > 0 {
			last = tc.want[n-1]
		}
		if got := LastLine(path); got != last {
			t.Errorf("%q: last is %q, want %q", tc.log, got, last)
		}
	}
	if got := Tail(t.TempDir(), 100); got != nil {
		t.Errorf("a directory says %q", got)
	}
	if got := LastLine("/nowhere/log"); got != "" {
		t.Errorf("nothing says %q", got)
	}
}

func TestGaveUp(t *testing.T) {
	long := strings.Repeat("ä", 400)
	for line, want := range map[string]string{
		seed.Failed + "no answer":                        "no answer",
		"[   12.345678] " + seed.Failed + "no answer":    "no answer",
		"[    1.000000][    T1] " + seed.Failed + "late": "late",
		seed.Failed + long:                               strings.Repeat("ä", 150) + "…",
		"he said " + seed.Failed + "no answer":           "-",
		"imageport-ce goes on":                           "-",
	} {
		got, ok := GaveUp(line)
		if ok != (want != "-") || ok && got != want {
			t.Errorf("%q: %q, %v", line, got, ok)
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("\x1b[2J\x1b[01;01HBdsDxe: failed\r\n[    1.5] " + seed.Failed + "x\n\xff\x1b[31"))
	f.Fuzz(func(t *testing.T, log []byte) {
		for _, line := range lines(log) {
			if line == "" || !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q gives the line %q", log, line)
			}
			if cause, ok := GaveUp(line); len(cause) > maxWords+len("…") || !ok && cause != "" {
				t.Fatalf("%q gives the cause %q", line, cause)
			}
		}
	})
}
