package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if err := table(&out, dir); err == nil || out.Len() > 0 {
		t.Errorf("of nothing: %v, %s", err, &out)
	}
	for _, p := range platforms {
		put(p.file, `{"Life": true}`)
	}
	put("qemu", `{"Life": true, "Guest/Life": true, "Guest/Screen": true}`)
	put("local", `{"Life": true, "Guest/Life": true}`)
	put("gcp", `{"Life": true, "List": true}`)
	if err := table(&out, dir); err != nil {
		t.Error(err)
	}
	for _, line := range []string{
		"| Life | passes | passes | passes | passes | passes | passes |",
		"| List | – | – | – | – | – | passes |",
		"| Guest/Life | passes | passes | not offered | not offered | not offered | not offered |",
		"| Guest/Screen | – | passes | not offered | not offered | not offered | not offered |",
		"| **cases** | 2 | 3 | 1 | 1 | 1 | 2 |",
	} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("%q is missing in\n%s", line, &out)
		}
	}
	put("azure", `{"Life": false}`)
	out.Reset()
	if err := table(&out, dir); err == nil || !strings.Contains(err.Error(), "Azure fails Life") || !strings.Contains(out.String(), "**fails**") {
		t.Errorf("%v\n%s", err, &out)
	}
}
