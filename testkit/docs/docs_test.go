package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"imageport/config"
	"imageport/job"
	"imageport/wallet"
)

const root = "../.."

func read(t *testing.T) []Document {
	t.Helper()
	documents, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(documents) < 10 {
		t.Fatalf("there are %d documents", len(documents))
	}
	return documents
}

// Every block says what it is, and commands say who runs them.
func TestBlocks(t *testing.T) {
	known := map[string]string{
		"sh run":          "a test runs it",
		"sh site":         "it needs a real site, or does not end",
		"powershell site": "the same",
		"toml":            "config.toml, whole or in parts",
		"json":            "a request, or a batch",
		"json fragment":   "keys of a request",
		"json answer":     "any other JSON",
		"go":              "part of an example that a test runs",
		"text":            "what nobody can type",
	}
	for _, d := range read(t) {
		for _, b := range d.Blocks() {
			kind := strings.TrimSpace(b.Language + " " + b.Mark)
			if known[kind] == "" {
				t.Errorf("%s: the info string is none of %q", b, slices.Sorted(maps.Keys(known)))
			}
			var err error
			switch kind {
			case "toml":
				err = checkConfig(t, b.Text)
			case "json":
				err = checkRequest([]byte(b.Text))
			case "json fragment":
				err = checkFragment([]byte("{" + b.Text + "}"))
			case "json answer":
				if !json.Valid([]byte(b.Text)) {
					err = errors.New("it is no JSON")
				}
			case "go":
				err = checkExample(b.Text)
			}
			if err != nil {
				t.Errorf("%s: %v\n%s", b, err, b.Text)
			}
		}
	}
}

// checkConfig loads a configuration as the program does, which knows every key.
func checkConfig(t *testing.T, text string) error {
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	_, err := config.Load(file)
	return err
}

// parsers are those of the bodies of requests.
var parsers = map[string]func([]byte) ([]string, error){
	"convertToUefi": func(b []byte) ([]string, error) { _, w, err := job.Parse[job.ConvertToUEFI](b); return w, err },
	"reverseImage":  func(b []byte) ([]string, error) { _, w, err := job.Parse[job.ReverseImage](b); return w, err },
	"upgradePvs":    func(b []byte) ([]string, error) { _, w, err := job.Parse[job.UpgradePVS](b); return w, err },
	"batch":         func(b []byte) ([]string, error) { _, w, err := job.ParseBatch(b); return w, err },
}

// checkRequest tells whether some operation takes the body, all of its keys.
func checkRequest(body []byte) error {
	var refused []error
	for _, parse := range parsers {
		warnings, err := parse(body)
		if err == nil && len(warnings) == 0 {
			return nil
		}
		for _, w := range warnings {
			err = errors.Join(err, errors.New(w))
		}
		refused = append(refused, err)
	}
	return errors.Join(refused...)
}

// checkFragment tells the same of keys that are added to the specification's
// request of some operation.
func checkFragment(keys []byte) error {
	var refused []error
	for operation, parse := range parsers {
		if operation == "batch" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, "job", "testdata", operation+".json"))
		if err != nil {
			return err
		}
		var body map[string]any
		if err := json.Unmarshal(text, &body); err != nil {
			return err
		}
		if err := json.Unmarshal(keys, &body); err != nil {
			return err
		}
		if body["pvsVersion"] != nil {
			delete(body, "outputImageFilename")
		}
		if text, err = json.Marshal(body); err != nil {
			return err
		}
		warnings, err := parse(text)
		if err == nil && len(warnings) == 0 {
			return nil
		}
		for _, w := range warnings {
			err = errors.Join(err, errors.New(w))
		}
		refused = append(refused, err)
	}
	return errors.Join(refused...)
}

// checkExample looks for each line of a block in the examples of package starter,
// in order.
func checkExample(text string) error {
	source, err := os.ReadFile(filepath.Join(root, "starter", "example_test.go"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "//") {
			continue
		}
		i := bytes.Index(source, []byte(line))
		if i < 0 {
			return errors.New("starter/example_test.go does not have, or not in this order: " + line)
		}
		source = source[i+len(line):]
	}
	return nil
}

// docs/configuration.md has every key of the configuration.
func TestEveryKeyOfTheConfiguration(t *testing.T) {
	said := map[string]bool{}
	for _, d := range read(t) {
		if d.Path != "docs/configuration.md" {
			continue
		}
		for _, b := range d.Blocks() {
			if b.Language != "toml" {
				continue
			}
			var values map[string]any
			if _, err := toml.Decode(b.Text, &values); err != nil {
				t.Fatalf("%s: %v", b, err)
			}
			addKeys(said, "", values)
		}
	}
	var visit func(at string, of reflect.Type)
	visit = func(at string, of reflect.Type) {
		for i := range of.NumField() {
			field := of.Field(i)
			name := field.Tag.Get("toml")
			if name == "" || name == "-" {
				continue
			}
			under := field.Type
			if under.Kind() == reflect.Slice {
				under = under.Elem()
			}
			if under.Kind() == reflect.Struct {
				visit(at+name+".", under)
			} else if !said[at+name] {
				t.Errorf("docs/configuration.md has no %s%s in a block of toml", at, name)
			}
		}
	}
	visit("", reflect.TypeFor[config.Config]())
	visit("wallet.", reflect.TypeFor[wallet.Config]())
}

// addKeys adds the keys of a table, with those of the tables in it.
func addKeys(keys map[string]bool, at string, table map[string]any) {
	for name, value := range table {
		keys[at+name] = true
		tables, _ := value.([]map[string]any)
		if one, ok := value.(map[string]any); ok {
			tables = append(tables, one)
		}
		for _, under := range tables {
			addKeys(keys, at+name+".", under)
		}
	}
}

// Every link leads somewhere, and every document can be found from the README.
func TestLinks(t *testing.T) {
	documents := map[string]Document{}
	for _, d := range read(t) {
		documents[d.Path] = d
	}
	found := map[string]bool{}
	var visit func(file string)
	visit = func(file string) {
		d, ok := documents[file]
		if found[file] || !ok {
			return
		}
		found[file] = true
		for _, l := range d.Links() {
			visit(l.File)
			for other := range documents {
				if path.Dir(other) == l.File && l.File != "docs" {
					visit(other) // the link is to its folder
				}
			}
		}
	}
	visit("README.md")
	for file, d := range documents {
		if !found[file] {
			t.Errorf("no way of links leads from README.md to %s", file)
		}
		for _, l := range d.Links() {
			if _, err := os.Stat(filepath.Join(root, l.File)); errors.Is(err, fs.ErrNotExist) || strings.HasPrefix(l.File, "..") {
				t.Errorf("%s: there is no such file", l)
			} else if l.Anchor != "" && !documents[l.File].Anchors()[l.Anchor] {
				t.Errorf("%s: there is no such heading", l)
			}
		}
	}
}

// What documents call with make, the Makefile has.
func TestMakeTargets(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(where string, words []string) {
		if words[0] != "make" {
			return
		}
		for _, word := range words[1:] {
			rule := "(?m)^" + regexp.QuoteMeta(word) + ":"
			if name, _, isVariable := strings.Cut(word, "="); isVariable {
				rule = `\$\((if \$\(|filter [\w -]+,\$\()?` + regexp.QuoteMeta(name) + `\)`
			}
			if !regexp.MustCompile(rule).Match(makefile) {
				t.Errorf("%s: the Makefile has no %s", where, word)
			}
		}
	}
	for _, d := range read(t) {
		for _, b := range d.Blocks() {
			if b.Language == "sh" {
				for _, words := range Commands(b.Text) {
					check(b.String(), words)
				}
			}
		}
		for _, s := range d.Spans() {
			if strings.HasPrefix(s.Text, "make ") {
				check(s.String(), Commands(s.Text)[0])
			}
		}
	}
}
