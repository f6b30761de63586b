package inject

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"imageport/engine/windows/ntfs"
	"imageport/firstboot/plan"
)

// utf16Text is a text as Windows Installer writes it.
func utf16Text(s string) []byte {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return b
}

const goodState = `{"version":1,"job":"job","status":"running","boots":1,"started":"2026-01-02T03:04:05Z","updated":"2026-01-02T03:05:05Z"}`

func TestRead(t *testing.T) {
	d, p := build(t, roomy())
	if o, err := Read(t.Context(), d, p); err != nil || o.State != nil || o.Torn != "" || o.Log != "" || o.Logs != nil {
		t.Errorf("where nothing was injected: %+v, %v", o, err)
	}
	write := func(files map[string][]byte) {
		t.Helper()
		onMounted(t, d, p, func(root string) {
			at := time.Unix(1_700_000_000, 0)
			for _, name := range []string{"state.json", "firstboot.log", "logs/1.log", "logs/2.log", "logs/3.log", "logs/4.log", "logs/5.log"} {
				b, ok := files[name]
				at = at.Add(time.Hour)
				if !ok {
					continue
				}
				path := filepath.Join(root, "ProgramData/imageport-firstboot", name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o600), os.Chtimes(path, at, at)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	long := strings.Repeat("a line of the log\r\n", 10_000) + "the end\r\n"
	write(map[string][]byte{
		"state.json": []byte(goodState), "firstboot.log": append([]byte(long), make([]byte, 5000)...),
		"logs/1.log": []byte("the oldest"), "logs/2.log": utf16Text("Größe: " + long + "日本"), "logs/3.log": []byte("Gr\xf6\xdfe"),
		"logs/4.log": nil, "logs/5.log": []byte("newest"),
	})
	o, err := Read(t.Context(), d, p)
	if err != nil {
		t.Fatal(err)
	}
	if o.State == nil || o.State.Status != plan.Running || o.State.Boots != 1 || o.Torn != "" {
		t.Errorf("state %+v, %q", o.State, o.Torn)
	}
	if len(o.Log) != maxLog || !strings.HasSuffix(o.Log, "a line of the log\nthe end\n") {
		t.Errorf("log of %d bytes: %q", len(o.Log), o.Log[max(0, len(o.Log)-100):])
	}
	if len(o.Logs) != maxLogs || o.Logs[0] != (Log{"5.log", "newest"}) || o.Logs[1] != (Log{"4.log", ""}) || o.Logs[2] != (Log{"3.log", "Gr\uFFFDe"}) {
		t.Errorf("logs %+v", o.Logs)
	}
	if msi := o.Logs[3]; msi.Name != "2.log" || len(msi.Tail) > maxTail || len(msi.Tail) < maxTail-3 || !strings.HasSuffix(msi.Tail, "the end\n日本") {
		t.Errorf("log of Windows Installer: %d bytes %q", len(msi.Tail), msi.Tail)
	}
	for pattern, want := range map[string]bool{"newest": true, "^Größe: a line": true, "the oldest": false} {
		if got, err := LogsSay(t.Context(), d, p, regexp.MustCompile(pattern)); got != want || err != nil {
			t.Errorf("the logs say %s: %t, %v", pattern, got, err)
		}
	}
	for torn, says := range map[string]string{
		"": "state.json", goodState[:50]: "state.json", strings.Repeat("\x00", 600): "state.json", strings.Repeat(" ", plan.MaxStateBytes+1): "at most 262144",
	} {
		write(map[string][]byte{"state.json": []byte(torn)})
		o, err := Read(t.Context(), d, p)
		if err != nil || o.State != nil || !strings.Contains(o.Torn, says) || len(o.Torn) > 1000 {
			t.Errorf("%.20q: %+v, %q, %v", torn, o.State, o.Torn, err)
		}
	}
}

// A disk's error is one, and no state.
func TestReadErrors(t *testing.T) {
	d, p := build(t, roomy())
	if _, err := Read(t.Context(), badReader{}, p); !errors.Is(err, errBad) {
		t.Errorf("got %v", err)
	}
	if _, err := LogsSay(t.Context(), badReader{}, p, regexp.MustCompile("x")); !errors.Is(err, errBad) {
		t.Errorf("got %v", err)
	}
	v := volume(t, d, p)
	if text, err := unreadable(v, ntfs.ErrCorrupt); err != nil || text == "" {
		t.Errorf("%q, %v", text, err)
	}
}

var errBad = errors.New("bad sector")

type badReader struct{}

func (badReader) ReadAt([]byte, int64) (int, error) { return 0, errBad }

func FuzzTail(f *testing.F) {
	f.Add([]byte("a log\r\n"), 4)
	f.Add(utf16Text("日本 log\r\n"), 7)
	f.Add([]byte{0xff, 0xfe, 0x00, 0xd8}, 1)
	f.Add([]byte("\xe6\x97\xa5\xe6\x97\x00\x00"), 3)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		if limit < 0 || limit > 1<<20 {
			return
		}
		e := encodingOf(b)
		for _, part := range [][]byte{b, b[len(b)/2:]} {
			text := e.tail(part, limit)
			if len(text) > limit || !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\r") {
				t.Errorf("%d bytes for %d: %q", len(text), limit, text)
			}
		}
	})
}
