package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/testkit/disktest"
)

// The same UKI and options make the same bytes, whatever is in memory, in
// whatever folder; another UKI has other identifiers; the hash is the file's.
func TestReproducible(t *testing.T) {
	uki := program(5<<20, 7)
	for _, format := range Formats() {
		t.Run(string(format), func(t *testing.T) {
			opt := Options{Version: "1.2.3", BIOS: loader(&Layout{})}
			path, info := export(t, format, uki, opt)
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Format != format || info.SizeBytes != int64(len(file)) || info.SHA256 != sha256.Sum256(file) {
				t.Errorf("%+v, the file has %d bytes and %x", info, len(file), sha256.Sum256(file))
			}
			opt.Time = made.In(time.FixedZone("UTC+9", 9*3600)).Add(999 * time.Millisecond)
			if _, again := export(t, format, uki, opt); again != info {
				t.Errorf("another time %+v, expected %+v", again, info)
			}
			if _, other := export(t, format, program(5<<20, 8), opt); other.SHA256 == info.SHA256 {
				t.Error("another UKI makes the same file")
			}
		})
	}
}

// The bytes of a small UKI's files: they change when a writer does, or a
// compressor, and then with intent.
func TestStable(t *testing.T) {
	for format, want := range map[Format]string{
		Raw: "f7a2d7669cffc523",
		OVA: "04aa9cacc74db311",
		VHD: "722003d2988074d0",
		GCP: "d4540bbfbe2dfb30",
		ISO: "5a216f915880c394",
	} {
		if _, info := export(t, format, program(300<<10, 9), Options{Version: "1.2.3"}); fmt.Sprintf("%x", info.SHA256[:8]) != want {
			t.Errorf("%s: %x, expected %s", format, info.SHA256[:8], want)
		}
	}
}

func TestFormats(t *testing.T) {
	suffixes := map[string]bool{}
	for _, f := range Formats() {
		if s := f.Suffix(); len(s) < 2 || suffixes[s] {
			t.Errorf("%s has the suffix %q", f, s)
		}
		suffixes[f.Suffix()] = true
	}
	if len(suffixes) != 5 || Format("qcow2").Suffix() != "" {
		t.Errorf("suffixes %v", suffixes)
	}
}

func TestWriteRefuses(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		format Format
		opt    Options
		want   error
		says   string
	}{
		{"format", t.Context(), "qcow2", Options{}, ErrFormat, `"qcow2" is none of [raw ova vhd gcp iso]`},
		{"name with a slash", t.Context(), OVA, Options{Name: "../ce"}, ErrOptions, `name "../ce"`},
		{"name with a quote", t.Context(), OVA, Options{Name: `ce"`}, ErrOptions, "name"},
		{"long name", t.Context(), OVA, Options{Name: strings.Repeat("n", 65)}, ErrOptions, "name"},
		{"version", t.Context(), ISO, Options{Version: "1\n2"}, ErrOptions, `version "1\n2"`},
		{"1999", t.Context(), VHD, Options{Time: time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC)}, ErrOptions, "2000 to 2099"},
		{"2100", t.Context(), Raw, Options{Time: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}, ErrOptions, "2000 to 2099"},
		{"canceled", canceled, Raw, Options{}, context.Canceled, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			info, err := Write(tt.ctx, &out, tt.format, load(t, program(1000, 1)), tt.opt)
			if !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("got %v, want one that says %q", err, tt.says)
			}
			if out.Len() > 0 || info != (Info{}) {
				t.Errorf("%d bytes were written, %+v", out.Len(), info)
			}
		})
	}
}

// A UKI that changes while it is exported, or a reader that fails.
func TestUKIChanges(t *testing.T) {
	p := program(3<<20, 10)
	unreadable := errors.New("I/O error")
	for _, format := range Formats() {
		u := load(t, p)
		changed := bytes.Clone(p)
		changed[2<<20]++
		u.data = bytes.NewReader(changed)
		if _, err := Write(t.Context(), io.Discard, format, u, Options{}); !errors.Is(err, ErrUKI) {
			t.Errorf("%s: changed: %v", format, err)
		}
		u.data = disktest.FailingAt(bytes.NewReader(p), 2<<20, unreadable)
		if _, err := Write(t.Context(), io.Discard, format, u, Options{}); !errors.Is(err, unreadable) {
			t.Errorf("%s: unreadable: %v", format, err)
		}
	}
}

// limited is a full file system.
type limited struct{ left int }

var errFull = errors.New("no space")

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// Every write is checked: wherever space ends, the error comes out.
func TestNoSpace(t *testing.T) {
	u := load(t, program(2<<20, 11))
	for _, format := range Formats() {
		var counted limited
		info, err := Write(t.Context(), io.Discard, format, u, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, left := range []int64{0, 511, 4096, info.SizeBytes / 2, info.SizeBytes - 512, info.SizeBytes - 1} {
			counted.left = int(left)
			if _, err := Write(t.Context(), &counted, format, u, Options{}); !errors.Is(err, errFull) {
				t.Errorf("%s: space for %d of %d bytes: %v", format, left, info.SizeBytes, err)
			}
		}
	}
}

func TestProgress(t *testing.T) {
	u := load(t, program(2<<20, 12))
	for _, format := range Formats() {
		var last, total int64
		calls := 0
		opt := Options{Progress: func(done, of int64) {
			if done <= last || done > of || total != 0 && of != total {
				t.Errorf("%s: %d of %d after %d of %d", format, done, of, last, total)
			}
			last, total = done, of
			calls++
		}}
		if _, err := Write(t.Context(), io.Discard, format, u, opt); err != nil {
			t.Fatal(err)
		}
		if last != total || calls < 4 {
			t.Errorf("%s: %d of %d at the end, after %d calls", format, last, total, calls)
		}
	}
}

// A file appears complete, or not at all, and nothing else stays.
func TestWriteFile(t *testing.T) {
	u := load(t, program(2<<20, 13))
	for _, format := range Formats() {
		t.Run(string(format), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "ce"+format.Suffix())
			if err := os.WriteFile(path, []byte("of old"), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			opt := Options{Progress: func(done, total int64) {
				if done > total/2 {
					cancel()
				}
			}}
			if _, err := WriteFile(ctx, path, format, u, opt); !errors.Is(err, context.Canceled) {
				t.Errorf("canceled in the middle: %v", err)
			}
			if old, err := os.ReadFile(path); string(old) != "of old" {
				t.Errorf("the old file has %d bytes, %v", len(old), err)
			}
			info, err := WriteFile(t.Context(), path, format, u, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if stat, err := os.Stat(path); err != nil || stat.Size() != info.SizeBytes || stat.Mode() != 0o644 {
				t.Errorf("%v, %v", stat, err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
				t.Errorf("left in the folder: %v, %v", left, err)
			}
		})
	}
	if _, err := WriteFile(t.Context(), filepath.Join(t.TempDir(), "none", "ce.raw"), Raw, u, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that there is not: %v", err)
	}
}
