package reagent

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrMalformed says that the file is not a ReAgent.xml that this package can
// read to its end, or edit without a doubt.
var ErrMalformed = errors.New("malformed ReAgent.xml")

// maxSize is many times what Windows writes, which is about 1 KiB.
const maxSize = 1 << 20

// document is the file as text.
type document struct {
	text  string
	utf16 bool
}

var utf16BOM = []byte{0xFF, 0xFE}

// decode takes UTF-8, with or without a byte order mark, and UTF-16LE with one.
func decode(file []byte) (document, error) {
	if len(file) > maxSize {
		return document{}, fmt.Errorf("%w: %d bytes, more than %d", ErrMalformed, len(file), maxSize)
	}
	if !bytes.HasPrefix(file, utf16BOM) {
		if !utf8.Valid(file) {
			return document{}, fmt.Errorf("%w: neither UTF-8 nor UTF-16LE with a byte order mark", ErrMalformed)
		}
		return document{text: string(file)}, nil
	}
	units := make([]uint16, len(file)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(file[2*i:])
	}
	d := document{string(utf16.Decode(units)), true}
	if !bytes.Equal(d.encode(d.text), file) { // half a surrogate pair, or half a unit
		return document{}, fmt.Errorf("%w: invalid UTF-16", ErrMalformed)
	}
	return d, nil
}

// encode is the inverse of decode, for a text in place of d's own.
func (d document) encode(text string) []byte {
	if !d.utf16 {
		return []byte(text)
	}
	units := utf16.Encode([]rune(text))
	b := make([]byte, 0, 2*len(units))
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// tag is a start tag that names a location, and where in the text it does.
type tag struct {
	Location
	at       int
	id, guid attribute
}

// attribute is the value of an attribute as it is written, and where it begins
// in the text.
type attribute struct {
	value string
	quote string // that ends it
	at    int
}

// locations reads the whole document and finds the elements <...Location .../>.
func (d document) locations() ([]tag, error) {
	dec := xml.NewDecoder(strings.NewReader(d.text))
	dec.CharsetReader = func(label string, input io.Reader) (io.Reader, error) {
		if d.utf16 && strings.EqualFold(label, "utf-16") {
			return input, nil // it is UTF-8 by now
		}
		return nil, fmt.Errorf("declared as %.60q, which it is not", label)
	}
	var tags []tag
	root := ""
	for {
		at := int(dec.InputOffset())
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: byte %d: %w", ErrMalformed, dec.InputOffset(), err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if root == "" {
			root = start.Name.Local
		}
		if !strings.HasSuffix(start.Name.Local, "Location") {
			continue
		}
		if !slices.ContainsFunc(start.Attr, func(a xml.Attr) bool { return a.Name.Local == "id" }) {
			continue // names no disk
		}
		t := tag{Location: Location{Element: start.Name.Local}, at: at}
		if err := t.read(d.text[at:dec.InputOffset()], start); err != nil {
			return nil, err
		}
		tags = append(tags, t)
	}
	if root != "WindowsRE" {
		return nil, fmt.Errorf("%w: the root element is %.60q, not WindowsRE", ErrMalformed, root)
	}
	return tags, nil
}

// read finds the attributes in the text of the tag, which start is decoded from.
func (t *tag) read(text string, start xml.StartElement) error {
	written := attributes(text, t.at)
	if len(written) != len(start.Attr) {
		return fmt.Errorf("%w: byte %d: %d attributes of %s found, not %d", ErrMalformed, t.at, len(written), t.Element, len(start.Attr))
	}
	found := map[string]attribute{}
	for i, a := range start.Attr {
		name := a.Name.Local
		if _, twice := found[name]; twice {
			return fmt.Errorf("%w: byte %d: %s has two attributes %s", ErrMalformed, t.at, t.Element, name)
		}
		w := written[i]
		if name != "path" && a.Value != w.value { // there is nothing to escape in a number
			return fmt.Errorf("%w: byte %d: %s of %s is written %.60q", ErrMalformed, w.at, name, t.Element, w.value)
		}
		if name == "path" {
			w.value = a.Value
		}
		found[name] = w
	}
	for _, name := range []string{"path", "offset", "guid"} {
		if _, ok := found[name]; !ok {
			return fmt.Errorf("%w: byte %d: %s has no attribute %s", ErrMalformed, t.at, t.Element, name)
		}
	}
	t.id, t.guid = found["id"], found["guid"]
	return t.parse(found["path"], found["offset"])
}

// attributes lists the values between quotes in the text of a start tag that is
// known to be well-formed, and lies at a place in the document.
func attributes(text string, at int) []attribute {
	var list []attribute
	for i := 0; ; {
		open := strings.IndexAny(text[i:], `"'`)
		if open < 0 {
			return list
		}
		i += open + 1
		quote := text[i-1 : i]
		length := strings.Index(text[i:], quote)
		if length < 0 {
			return list
		}
		list = append(list, attribute{text[i : i+length], quote, at + i})
		i += length + 1
	}
}
