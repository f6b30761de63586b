package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"imageport/firstboot/plan"
	"imageport/job"
)

// The bounds of a catalogue: it is written by hand.
const (
	maxBytes      = 1 << 20
	maxInstallers = 1000
	maxProblems   = 50
)

const remedyParse = "Put catalogue.json right, and try with \"imageport catalogue check\""

// Parse reads a catalogue, fills in the defaults and normalises paths, hashes and
// exit codes. Keys that it does not know are warnings. The error is
// job.CatalogueInvalid and says all that is wrong, with lines.
func Parse(text []byte) (*Catalogue, error) {
	if len(text) > maxBytes {
		return nil, job.Errorf(job.CatalogueInvalid, remedyParse, "%s has %d bytes, more than %d", FileName, len(text), maxBytes)
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // as some editors of Windows write it
	if !utf8.Valid(text) {
		return nil, job.Errorf(job.CatalogueInvalid, "Save it as UTF-8", "%s is not a text in UTF-8", FileName)
	}
	if line, err := syntaxFault(text); err != nil {
		return nil, job.Errorf(job.CatalogueInvalid, remedyParse, "%s, line %d: it is not JSON: %w", FileName, line, err)
	}
	p := parser{text: text}
	c := p.catalogue()
	if len(p.problems) > 0 {
		return nil, job.Errorf(job.CatalogueInvalid, remedyParse, "%s: %s", FileName, strings.Join(p.problems, "; "))
	}
	return c, nil
}

// parser collects what is wrong.
type parser struct {
	text     []byte
	problems []string
	warnings []string
}

// wrong notes a problem with what is at an offset.
func (p *parser) wrong(offset int64, format string, args ...any) {
	switch n := len(p.problems); {
	case n < maxProblems:
		p.problems = append(p.problems, p.said(offset, format, args...))
	case n == maxProblems:
		p.problems = append(p.problems, "and more")
	}
}

func (p *parser) warn(offset int64, format string, args ...any) {
	if len(p.warnings) < maxProblems {
		p.warnings = append(p.warnings, p.said(offset, format, args...))
	}
}

func (p *parser) said(offset int64, format string, args ...any) string {
	return fmt.Sprintf("line %d: ", lineAt(p.text, offset)) + fmt.Sprintf(format, args...)
}

func (p *parser) catalogue() *Catalogue {
	c := &Catalogue{}
	start := int64(len(p.text) - len(bytes.TrimLeft(p.text, " \t\r\n")))
	var list []member
	found := false
	for _, m := range p.object(bytes.TrimSpace(p.text), start, "the catalogue", reflect.TypeFor[Catalogue]()) {
		var err error
		found = true
		if list, err = elements(m.value, m.offset); err != nil {
			p.wrong(m.offset, "%s: %v", m.key, err)
		}
	}
	if !found && len(p.problems) == 0 {
		p.wrong(start, "there is no list of installers")
	}
	if len(list) > maxInstallers {
		p.wrong(start, "there are %d installers, more than %d", len(list), maxInstallers)
		return c
	}
	lines := map[string]int{}
	for i, m := range list {
		in := p.installer(m, fmt.Sprintf("installers[%d]", i))
		key := strings.ToLower(in.String())
		if line, twice := lines[key]; twice && in.Version != "" {
			p.wrong(m.offset, "installers[%d] is %v, as is the one in line %d", i, in, line)
		}
		lines[key] = lineAt(p.text, m.offset)
		c.Installers = append(c.Installers, in)
	}
	c.Warnings = p.warnings
	return c
}

// object reads the members of an object that a type describes, without those
// that are null, and notes what is unknown or there twice.
func (p *parser) object(raw json.RawMessage, offset int64, where string, t reflect.Type) []member {
	list, err := members(raw, offset)
	if err != nil {
		p.wrong(offset, "%s: %v", where, err)
		return nil
	}
	known := map[string]string{} // by lower case
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
			known[strings.ToLower(name)] = name
		}
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(m member) bool {
		folded := strings.ToLower(m.key)
		switch {
		case known[folded] == "":
			p.warn(m.offset, "%s: the key %q is not known, and is ignored", where, m.key)
			return true
		case seen[folded]:
			p.wrong(m.offset, "%s: the key %q is there twice", where, m.key)
		}
		seen[folded] = true
		return isNull(m.value)
	})
}

// fill decodes the members into the struct that to points to, apart from those
// of skip.
func (p *parser) fill(list []member, where string, to any, skip ...string) {
	for _, m := range list {
		if slices.ContainsFunc(skip, func(s string) bool { return strings.EqualFold(s, m.key) }) {
			continue
		}
		key, err := json.Marshal(m.key)
		if err == nil {
			err = json.Unmarshal(slices.Concat([]byte("{"), key, []byte(":"), m.value, []byte("}")), to)
		}
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			err = fmt.Errorf("it is %s, and must be %s", article(e.Value), kindText(e.Type))
		}
		if err != nil {
			p.wrong(m.offset, "%s.%s: %v", where, m.key, err)
		}
	}
}

func article(value string) string {
	switch value {
	case "object", "array":
		return "an " + value
	}
	return "a " + value
}

func kindText(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Int:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}

// installer reads one of the list.
func (p *parser) installer(m member, where string) Installer {
	in := defaults()
	list := p.object(m.value, m.offset, where, reflect.TypeFor[Installer]())
	p.fill(list, where, &in, "verify", "prerequisites")
	at := positions{m.offset, list}
	if i := index(list, "verify"); i >= 0 {
		inner := p.object(list[i].value, list[i].offset, where+".verify", reflect.TypeFor[Verify]())
		p.fill(inner, where+".verify", &in.Verify)
	}
	if i := index(list, "prerequisites"); i >= 0 {
		inner, err := elements(list[i].value, list[i].offset)
		if err != nil {
			p.wrong(list[i].offset, "%s.prerequisites: %v", where, err)
		}
		if len(inner) > plan.MaxSteps {
			p.wrong(list[i].offset, "%s.prerequisites: there are %d, and the runner takes %d steps", where, len(inner), plan.MaxSteps)
			inner = nil
		}
		for n, m := range inner {
			in.Prerequisites = append(in.Prerequisites, p.prerequisite(m, fmt.Sprintf("%s.prerequisites[%d]", where, n)))
		}
	}
	in.normalise()
	if isPackage(in.File) && index(list, "args") < 0 {
		in.Args = msiArgs
	}
	in.validate(func(key, format string, args ...any) {
		p.wrong(at.of(key), "%s.%s: %s", where, key, fmt.Sprintf(format, args...))
	})
	return in
}

func (p *parser) prerequisite(m member, where string) Prerequisite {
	pre := prerequisiteDefaults()
	list := p.object(m.value, m.offset, where, reflect.TypeFor[Prerequisite]())
	p.fill(list, where, &pre)
	at := positions{m.offset, list}
	pre.normalise()
	if pre.Name == "" {
		pre.Name = path.Base(pre.File)
	}
	pre.validate(func(key, format string, args ...any) {
		p.wrong(at.of(key), "%s.%s: %s", where, key, fmt.Sprintf(format, args...))
	})
	return pre
}

// positions are where the keys of an object are.
type positions struct {
	object  int64
	members []member
}

// of gives where a key is, or where the object begins that lacks it.
func (p positions) of(key string) int64 {
	if i := index(p.members, key); i >= 0 {
		return p.members[i].offset
	}
	return p.object
}
