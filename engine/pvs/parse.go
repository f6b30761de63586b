package pvs

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxManifest is the size of a manifest of thousands of versions; farms merge
// after five (Set-PvsFarm, MaxVersions).
const maxManifest = 4 << 20

// The elements, in the order in which they are written.
const (
	rootElement     = "versionManifest"
	startingElement = "startingVersion"
	versionElement  = "version"
)

var fieldElements = []string{"versionNumber", "description", "type", "access", "createDate", "scheduledDate", "deleteWhenFree", "diskFileName", "size", "lastWriteTime"}

// layout is where the versions are in the text, and how they are written.
type layout struct {
	first, end int    // where the first version begins and the last one ends
	descending bool   // the highest number comes first
	lead       string // the space before a version
	indent     string // before a field
	tail       string // before the version's end tag
	created    string // format of createDate
	modified   string // format of lastWriteTime
}

// timeFormats are how times are written; manifests have both.
var timeFormats = []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04:05Z07:00"}

// ParseManifest reads a manifest: UTF-8, or UTF-16 with a byte order mark. What
// it does not know is kept and passed over. The error is ErrManifest, and says
// at which byte of the text, in UTF-8 and behind the mark, what was found.
func ParseManifest(file []byte) (Manifest, error) {
	if len(file) > maxManifest {
		return Manifest{}, fmt.Errorf("%w: %d bytes, more than %d", ErrManifest, len(file), maxManifest)
	}
	text, enc, err := decodeText(file)
	if err != nil {
		return Manifest{}, err
	}
	return parseText(text, enc)
}

func parseText(text string, enc encoding) (Manifest, error) {
	p := parser{text: text, m: Manifest{text: text, encoding: enc, starting: -1}, xml: xml.NewDecoder(strings.NewReader(text))}
	p.xml.CharsetReader = func(label string, in io.Reader) (io.Reader, error) {
		// The declaration of a file in UTF-16 is its own; ASCII is the same in
		// all others that there are.
		if enc.order == nil && strings.IndexFunc(text, func(r rune) bool { return r > '~' }) >= 0 {
			return nil, fmt.Errorf("declared as %.40q, but it is UTF-8", label)
		}
		return in, nil
	}
	if err := p.document(); err != nil {
		if errors.Is(err, ErrManifest) {
			return Manifest{}, err
		}
		return Manifest{}, p.errorf("%w", err)
	}
	if p.m.starting < 0 {
		return Manifest{}, fmt.Errorf("%w: it has no %s", ErrManifest, startingElement)
	}
	if n := len(p.m.entries); n > 0 {
		p.m.layout.descending = p.m.entries[0].Number > p.m.entries[n-1].Number
	}
	return p.m, p.m.valid()
}

type parser struct {
	text string
	xml  *xml.Decoder
	m    Manifest
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("%w: byte %d: %w", ErrManifest, p.xml.InputOffset(), fmt.Errorf(format, args...))
}

// known checks a start tag and tells whether its element is one of those named.
// The parts of the text are found by the elements' plain names.
func (p *parser) known(at int64, e xml.StartElement, names ...string) (bool, error) {
	if !slices.Contains(names, e.Name.Local) {
		return false, nil
	}
	if !strings.HasPrefix(p.text[at:], "<"+e.Name.Local) {
		return false, p.errorf("%s is written with a namespace prefix", e.Name.Local)
	}
	return true, nil
}

// document reads from before the root element to the end of the file.
func (p *parser) document() error {
	roots := 0
	for {
		at := p.xml.InputOffset()
		token, err := p.xml.Token()
		if err == io.EOF && roots == 1 {
			return nil
		}
		if err == io.EOF {
			return p.errorf("there is no %s", rootElement)
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			ok, err := p.known(at, t, rootElement)
			if err != nil {
				return err
			}
			if roots++; !ok || roots > 1 {
				return p.errorf("element %.40q in place of one %s", t.Name.Local, rootElement)
			}
			if err := p.root(); err != nil {
				return err
			}
		case xml.CharData:
			if strings.TrimSpace(string(t)) != "" {
				return p.errorf("text outside %s", rootElement)
			}
		case xml.Directive:
			return p.errorf("a document type declaration")
		}
	}
}

// root reads the root element to its end tag.
func (p *parser) root() error {
	for {
		at := p.xml.InputOffset()
		token, err := p.xml.Token()
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			ok, err := p.known(at, t, startingElement, versionElement)
			switch {
			case err != nil:
				return err
			case !ok:
				err = p.xml.Skip()
			case t.Name.Local == versionElement:
				err = p.version(int(at))
			case p.m.starting >= 0:
				err = p.errorf("a second %s", startingElement)
			default:
				err = p.starting()
			}
			if err != nil {
				return err
			}
		}
	}
}

// starting reads the number of the starting version. Manifests of vDisks in
// private mode have the element without a number: those have no versions.
func (p *parser) starting() error {
	value, err := p.value(startingElement)
	if err != nil {
		return err
	}
	p.m.starting, err = p.number(startingElement, value, maxNumber)
	return err
}

// version reads a version, which begins at a byte of the text, to its end tag.
func (p *parser) version(at int) error {
	fields := map[string]string{}
	indent, tail := "", ""
	for end := false; !end; {
		begin := p.xml.InputOffset()
		token, err := p.xml.Token()
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.EndElement:
			tail, end = spaceBefore(p.text[:begin]), true
		case xml.StartElement:
			name := t.Name.Local
			ok, err := p.known(begin, t, fieldElements...)
			if err == nil && !ok {
				err = p.xml.Skip()
			}
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if len(fields) == 0 {
				indent = spaceBefore(p.text[:begin])
			}
			if _, twice := fields[name]; twice {
				return p.errorf("a second %s in a version", name)
			}
			if fields[name], err = p.value(name); err != nil {
				return err
			}
		}
	}
	if len(p.m.entries) == 0 {
		p.m.layout.first = at
	}
	l := &p.m.layout
	l.end = int(p.xml.InputOffset())
	l.lead, l.indent, l.tail = spaceBefore(p.text[:at]), indent, tail
	entry, err := p.entry(fields)
	p.m.entries = append(p.m.entries, entry)
	return err
}

// entry reads the fields of a version. The description and dates may be
// missing, and the generators that recreate manifests leave out what they do not
// know of a file.
func (p *parser) entry(fields map[string]string) (Entry, error) {
	e := Entry{Description: fields["description"], File: fields["diskFileName"], Size: -1}
	var typ, access int
	var err error
	read := func(name string, to *int, limit int) {
		if err == nil {
			*to, err = p.number(name, fields[name], limit)
		}
	}
	read("versionNumber", &e.Number, maxNumber)
	read("type", &typ, int(MergeBase))
	read("access", &access, int(Test))
	if err != nil {
		return e, err
	}
	e.Type, e.Access = Type(typ), Access(access)
	switch strings.ToLower(fields["deleteWhenFree"]) {
	case "1", "true":
		e.DeleteWhenFree = true
	case "0", "false", "":
	default:
		return e, p.errorf("deleteWhenFree is %.40q, not 0 or 1", fields["deleteWhenFree"])
	}
	if size := fields["size"]; size != "" {
		if e.Size, err = strconv.ParseInt(size, 10, 64); err != nil || e.Size < 0 {
			return e, p.errorf("size is %.40q, not a number of bytes", size)
		}
	}
	l := &p.m.layout
	if e.Created, l.created, err = p.time("createDate", fields["createDate"]); err != nil {
		return e, err
	}
	e.Modified, l.modified, err = p.time("lastWriteTime", fields["lastWriteTime"])
	return e, err
}

// value reads the text of an element to its end tag.
func (p *parser) value(name string) (string, error) {
	var b strings.Builder
	for {
		token, err := p.xml.Token()
		if err != nil {
			return "", err
		}
		switch t := token.(type) {
		case xml.CharData:
			b.Write(t)
		case xml.StartElement:
			return "", p.errorf("an element %.40q in %s", t.Name.Local, name)
		case xml.EndElement:
			return strings.TrimSpace(b.String()), nil
		}
	}
}

func (p *parser) number(name, value string, limit int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > limit {
		return 0, p.errorf("%s is %.40q, not a number from 0 to %d", name, value, limit)
	}
	return n, nil
}

// time reads a time in UTC, and says in which format it is written.
func (p *parser) time(name, value string) (time.Time, string, error) {
	if value == "" {
		return time.Time{}, timeFormats[0], nil
	}
	for _, format := range timeFormats {
		if t, err := time.Parse(format, value); err == nil {
			return t.UTC(), format, nil
		}
	}
	return time.Time{}, "", p.errorf("%s is %.40q, not a time such as %s", name, value, timeFormats[0])
}

// spaceBefore gives the white space that a text ends with.
func spaceBefore(text string) string {
	return text[len(strings.TrimRight(text, " \t\r\n")):]
}
