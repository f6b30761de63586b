package chain

import (
	"strings"
	"testing"
)

func TestBaseName(t *testing.T) {
	for path, want := range map[string]string{
		`win.vhdx`:                             `win.vhdx`,
		`.\win.vhdx`:                           `win.vhdx`,
		`./win.vhdx`:                           `win.vhdx`,
		`..\a\win.vhdx`:                        `win.vhdx`,
		`C:\vdisks\win.vhdx`:                   `win.vhdx`,
		`C:win.vhdx`:                           `win.vhdx`,
		`\\host\share\win.vhdx`:                `win.vhdx`,
		`\\?\UNC\host\share\dir\win 10.vhdx`:   `win 10.vhdx`,
		`\\?\Volume{9cdf8dfa}\vdisks\win.vhdx`: `win.vhdx`,
		`/vdisks/win.vhdx`:                     `win.vhdx`,
		"win.vhdx\x00\x00":                     `win.vhdx`,
		`Bürogerät.vhdx`:                       `Bürogerät.vhdx`,
		`...vhdx`:                              `...vhdx`,
		strings.Repeat("x", 255):               strings.Repeat("x", 255),
		``:                                     ``,
		"\x00":                                 ``,
		`.`:                                    ``,
		`..`:                                   ``,
		`C:`:                                   ``,
		`C:\`:                                  ``,
		`\\host\share\`:                        ``,
		`a\..`:                                 ``,
		`win.vhdx:stream`:                      ``,
		`a:b:c`:                                ``,
		"win\x00.vhdx":                         ``,
		"win\n.vhdx":                           ``,
		`win?.vhdx`:                            ``,
		`win.vhdx.`:                            ``,
		`win.vhdx `:                            ``,
		"win\xff.vhdx":                         ``,
		"win\ufffd.vhdx":                       ``,
		strings.Repeat("x", 256):               ``,
		strings.Repeat("\U0001f4bf", 128):      ``,
	} {
		if name, ok := baseName(path); name != want || ok != (want != "") {
			t.Errorf("baseName(%q) = %q, %t; want %q", path, name, ok, want)
		}
	}
}

// FuzzBaseName: only plain names come out, and they are part of the path.
func FuzzBaseName(f *testing.F) {
	for _, path := range []string{`.\win.vhdx`, `C:\a\b`, `\\?\UNC\h\s\x`, `a:b`, "x\x00", `..`, `x `, "\xff"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		name, ok := baseName(path)
		if !ok {
			if name != "" {
				t.Errorf("refused %q", name)
			}
			return
		}
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\:\x00") || len(name) > 4*maxNameUnits {
			t.Errorf("%q of %q is no plain name", name, path)
		}
		if !strings.HasSuffix(strings.TrimRight(path, "\x00"), name) {
			t.Errorf("%q is not at the end of %q", name, path)
		}
		if again, ok := baseName(name); !ok || again != name {
			t.Errorf("%q is %q at the second look", name, again)
		}
	})
}
