package kmsg_test

import (
	"bytes"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"imageport/appliance/pid1/kmsg"
)

// records keeps what was written, a record a call.
type records []string

func (r *records) Write(b []byte) (int, error) {
	*r = append(*r, strings.TrimSuffix(string(b), "\n"))
	if !bytes.HasSuffix(b, []byte("\n")) {
		return 0, errors.New("a record without its end")
	}
	return len(b), nil
}

func TestHandler(t *testing.T) {
	var got records
	w := kmsg.NewWriter(&got)
	log := slog.New(kmsg.NewHandler(w, slog.LevelInfo))
	w.Hide("t0ken")
	w.Hide("")
	log.Debug("not shown")
	log.Info("an address", "card", "eth0", "lease", "24 hours")
	log.With("ce", "ce-1").WithGroup("net").Warn("again", slog.Group("dhcp", "try", 2), "empty", "", "err", errors.New("a\nb"))
	log.Error("bad t0ken\nforged\r\x1b[2Jline", "seed", "t0ken")
	log.WithGroup("").Info("no group", slog.Attr{})
	if err := w.Line(slog.LevelError, "last words"); err != nil {
		t.Fatal(err)
	}
	want := records{
		`<5>imageport-ce: an address card=eth0 lease="24 hours"`,
		`<4>imageport-ce: again ce=ce-1 net.dhcp.try=2 net.empty="" net.err="a\nb"`,
		`<3>imageport-ce: bad [hidden]; forged??[2Jline seed=[hidden]`,
		`<5>imageport-ce: no group`,
		`<3>last words`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLongLines(t *testing.T) {
	for _, length := range []int{879, 880, 881, 3000, 1 << 20} {
		var got records
		text := strings.Repeat("ä", length/2) + strings.Repeat("x", length%2)
		if err := kmsg.NewWriter(&got).Line(slog.LevelInfo, text); err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			if len(r) > 1000 || !utf8.ValidString(r) {
				t.Errorf("%d bytes: a record of %d", length, len(r))
			}
		}
		if want := min((length+879)/880, 8); len(got) != want {
			t.Errorf("%d bytes: %d records, want %d", length, len(got), want)
		}
	}
}

func TestClean(t *testing.T) {
	w := kmsg.NewWriter(&records{})
	w.Hide("abc")
	if got := w.Clean(" one\ntwo abc\x00\xff \n"); got != "one; two [hidden]??" {
		t.Errorf("%q", got)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestWriteFails(t *testing.T) {
	if err := kmsg.NewWriter(full{}).Line(slog.LevelInfo, "x"); err == nil || !strings.Contains(err.Error(), "kernel log: no space") {
		t.Error(err)
	}
}
