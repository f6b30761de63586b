package lock_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"imageport/appliance/lock"
)

const sum = "967aa62605721081c3eb2a17650611a792aa802d76a6511d1840242623d204c9"

const example = "# a comment\nimageport-lock-1 trixie 2026-11-21T02:10:46Z\n\n" +
	"libc6 2.41-12+deb13u4 debian " + sum + " 2846580 pool/main/g/glibc/libc6_2.41-12+deb13u4_amd64.deb glibc=2.41-12+deb13u4\n" +
	"ntfs-3g 1:2022.10.3-5+deb13u3 debian-security " + sum + " 409952 pool/updates/main/n/ntfs-3g/ntfs-3g_2022.10.3-5+deb13u3_amd64.deb ntfs-3g=1:2022.10.3-5+deb13u3\n"

func TestParse(t *testing.T) {
	l, err := lock.Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if l.Suite != "trixie" || !l.Date.Equal(time.Date(2026, 11, 21, 2, 10, 46, 0, time.UTC)) || len(l.Packages) != 2 ||
		l.Packages[1].Archive != lock.Security || l.Packages[1].Size != 409952 || l.Packages[1].Source != "ntfs-3g=1:2022.10.3-5+deb13u3" {
		t.Errorf("%+v", l)
	}
	again, err := lock.Parse(l.Encode())
	if err != nil || fmt.Sprint(again) != fmt.Sprint(l) || again.SHA256() != l.SHA256() {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestParseRefusals(t *testing.T) {
	replaced := func(old, with string) string {
		if !strings.Contains(example, old) {
			t.Fatalf("no %q in the example", old)
		}
		return strings.Replace(example, old, with, 1)
	}
	lines := strings.SplitAfter(example, "\n")
	for name, c := range map[string]struct{ text, says string }{
		"empty":              {"", "there is no package"},
		"no packages":        {lines[1], "there is no package"},
		"no header":          {lines[3], "line 1: "},
		"later version":      {replaced("lock-1", "lock-2"), `want "imageport-lock-1 suite date"`},
		"bad date":           {replaced("2026-11-21T", "2026-21-11T"), "month out of range"},
		"too few fields":     {replaced(" glibc=2.41-12+deb13u4", ""), "line 4: 6 fields, want 7"},
		"size in words":      {replaced("2846580", "many"), "the size of libc6"},
		"no size":            {replaced("2846580", "0"), "libc6: 0 bytes"},
		"huge":               {replaced("2846580", "28465800000"), "libc6: 28465800000 bytes"},
		"other archive":      {replaced("debian ", "ubuntu "), `there is no archive "ubuntu"`},
		"short hash":         {replaced(sum, sum[1:]), "is no SHA-256"},
		"path out of a pool": {replaced("pool/main/g/", "pool/../../g/"), "is no path in a pool"},
		"URL":                {replaced("pool/main/g/", "http://example.com/"), "is no path in a pool"},
		"version with slash": {replaced("2.41-12", "2.41/12"), "is no version"},
		"no source version":  {replaced("glibc=2.41-12+deb13u4", "glibc"), "is no source package"},
		"name with blank":    {replaced("\nlibc6", "\n../libc6"), "is no name of a package"},
		"twice":              {example + lines[4], "want each name once and in order"},
		"not in order":       {lines[1] + lines[4] + lines[3], "libc6 follows ntfs-3g"},
		"long line":          {example + strings.Repeat("x", 5000), "line 6: bufio.Scanner: token too long"},
	} {
		_, err := lock.Parse([]byte(c.text))
		if !errors.Is(err, lock.ErrFormat) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := lock.Parse(raw)
		if err != nil {
			if !errors.Is(err, lock.ErrFormat) {
				t.Error(err)
			}
			return
		}
		again, err := lock.Parse(l.Encode())
		if err != nil || again.SHA256() != l.SHA256() {
			t.Errorf("%q: %v", l.Encode(), err)
		}
	})
}
