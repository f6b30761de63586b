package fusefile

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestParseMounts(t *testing.T) {
	table := `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
41 36 0:52 / /var/tmp/a\040b\134c/imageport-fuse-1 rw,nosuid,nodev - fuse.imageport imageport:17:4711 rw,user_id=0
cut short
37 35 98:0 / /x rw -
`
	want := []mountEntry{
		{"/mnt2", "ext3", "/dev/root"},
		{`/var/tmp/a b\c/imageport-fuse-1`, "fuse.imageport", "imageport:17:4711"},
	}
	if got := parseMounts(table); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if p, ok := parseSource(want[1].source); !ok || p != (process{17, 4711}) || p.source() != want[1].source {
		t.Errorf("got %v, %v", p, ok)
	}
	for _, foreign := range []string{"", "imageport", "imageport:1", "imageport:x:1", "imageport:-1:1", "imageport:1:x", "other:1:1", "imageport:1:1:1"} {
		if p, ok := parseSource(foreign); ok {
			t.Errorf("%q is %v", foreign, p)
		}
	}
}

func TestAlive(t *testing.T) {
	us, err := thisProcess()
	if err != nil {
		t.Fatal(err)
	}
	if !us.alive() {
		t.Error("this process is dead")
	}
	if (process{us.pid, us.start + 1}).alive() {
		t.Error("another process of the same number lives")
	}
	if (process{1 << 30, 1}).alive() {
		t.Error("a process that never was lives")
	}
}

func FuzzParseMounts(f *testing.F) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(table))
	f.Add(`1 1 0:1 / /a\04 rw - x \`)
	f.Fuzz(func(t *testing.T, table string) {
		for _, m := range parseMounts(table) {
			if !strings.Contains(table, " - ") {
				t.Fatalf("%+v of %q", m, table)
			}
			if p, ok := parseSource(m.source); ok && p.pid <= 0 {
				t.Fatalf("%+v of %q", p, m.source)
			}
		}
	})
}
