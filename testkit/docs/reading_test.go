package docs

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestCommands(t *testing.T) {
	for shell, want := range map[string][][]string{
		"a b 'c d' \"e\"f # g":           {{"a", "b", "c d", "ef"}},
		"a \\\n  b\nc":                   {{"a", "b"}, {"c"}},
		"X=1 sudo a | b && c; d":         {{"a"}, {"b"}, {"c"}, {"d"}},
		"a < in > out 2>&1 b 2> err":     {{"a", "b"}},
		"a <job id> <n>":                 {{"a", "<job id>", "<n>"}},
		"X=$(a b)\nsource <(c) d# e":     {{"a", "b"}, {"source"}, {"c"}, {"d#", "e"}},
		`a "\\host\share" '*' "$X" b\ c`: {{"a", `\\host\share`, "*", "$X", "b c"}},
		"# nothing\n\n":                  nil,
	} {
		if got := Commands(shell); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", shell, got, want)
		}
	}
}

func TestUsage(t *testing.T) {
	for text, want := range map[string]usage{
		"[flags]":                {},
		"job file.zip [flags]":   {arguments: []string{"job", "file.zip"}},
		"image [output] [flags]": {arguments: []string{"image"}, more: 1},
		"image {output | --to-device path} [flags]": {arguments: []string{"image"}, more: 1},
		"output {--size size | --parent image}":     {arguments: []string{"output"}},
		"-f file [flags]":                           {flags: []string{"-f"}},
		"name [more...] [flags]":                    {arguments: []string{"name"}, more: -1},
	} {
		if got := parseUsage(strings.Fields(text)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

// A program whose help is like that of one made with cobra.
func TestProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tool")
	err := os.WriteFile(file, []byte(`#!/bin/sh
case "$1 $2" in
"jobs show") printf 'Show\n\nUsage:\n  tool jobs show job -f file [flags]\n\nFlags:\n  -f, --file file   a file\n      --wait        wait\n' ;;
"jobs "*) printf 'Jobs\n\nUsage:\n  tool jobs [command]\n\nAvailable Commands:\n  show   Show\n\nFlags:\n  -h, --help   help\n' ;;
*) printf 'Tool\n\nUsage:\n  tool [command]\n\nAvailable Commands:\n  jobs   Jobs\n\nFlags:\n  -h, --help   help\n' ;;
esac
`), 0o700)
	if err != nil {
		t.Fatal(err)
	}
	tool := NewProgram(file)
	for line, want := range map[string]string{
		"jobs show x -f y --wait": "",
		"jobs show --file=y x":    "",
		"jobs --help":             "",
		"<command> --nope":        "",
		"job":                     "there is no tool job",
		"jobs list":               "there is no tool jobs list",
		"jobs show x":             "tool jobs show lacks its -f",
		"jobs show -f y":          "tool jobs show lacks its job",
		"jobs show x z -f y":      "tool jobs show has 1 arguments too many",
		"jobs show x -f y --wat":  "tool jobs show has no flag --wat",
		"jobs show x -f y '' ":    "tool jobs show has 1 arguments too many",
	} {
		err := tool.Check(t.Context(), Commands(line)[0], true)
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	if err := tool.Check(t.Context(), []string{"jobs", "show"}, false); err != nil {
		t.Error(err)
	}
}

func TestDocument(t *testing.T) {
	d := Document{"docs/a.md", "# A `b`, c\n\n[x](../y.md#z-1) [w](https://w) `[no](no.md)`\n\n- item\n  ```sh run\n  imageport\n    x\n  ```\n# A b c\n````text\n```\n[no](no.md)\n````\n"}
	blocks := d.Blocks()
	if len(blocks) != 2 || blocks[0] != (Block{"docs/a.md", 6, "sh", "run", "imageport\n  x\n"}) || blocks[1].Text != "```\n[no](no.md)\n" {
		t.Errorf("blocks %+v", blocks)
	}
	if links := d.Links(); len(links) != 1 || links[0] != (Link{"docs/a.md:3", "y.md", "z-1"}) {
		t.Errorf("links %+v", links)
	}
	if a := d.Anchors(); len(a) != 2 || !a["a-b-c"] || !a["a-b-c-1"] {
		t.Errorf("anchors %v", a)
	}
	if s := d.Spans(); len(s) != 2 || s[1] != (Span{"docs/a.md", 3, "[no](no.md)"}) {
		t.Errorf("spans %+v", s)
	}
}
