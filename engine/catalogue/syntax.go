package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// member is a key of an object with its value. Objects are read in this form
// where their order, what is unknown in them, and the lines matter.
type member struct {
	key   string
	value json.RawMessage
	// offset is where the value begins, from the begin of the text.
	offset int64
}

// members reads an object that begins at an offset of the text. Null is one
// without members.
func members(raw json.RawMessage, offset int64) ([]member, error) {
	var list []member
	err := walk(raw, '{', "an object", func(d *json.Decoder) error {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		list = append(list, member{key.(string), value, offset + d.InputOffset() - int64(len(value))})
		return nil
	})
	return list, err
}

// elements reads an array in the same way; the keys are empty.
func elements(raw json.RawMessage, offset int64) ([]member, error) {
	var list []member
	err := walk(raw, '[', "a list", func(d *json.Decoder) error {
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		list = append(list, member{"", value, offset + d.InputOffset() - int64(len(value))})
		return nil
	})
	return list, err
}

// walk calls each with a decoder that is before each of what is in raw.
func walk(raw json.RawMessage, open json.Delim, what string, each func(*json.Decoder) error) error {
	if isNull(raw) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if first, err := d.Token(); err != nil || first != open {
		return fmt.Errorf("it is not %s", what)
	}
	for d.More() {
		if err := each(d); err != nil {
			return err
		}
	}
	return nil
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// index finds a key, without regard to case as encoding/json does.
func index(list []member, key string) int {
	for i, m := range list {
		if strings.EqualFold(m.key, key) {
			return i
		}
	}
	return -1
}

// lineAt gives the number of the line of an offset.
func lineAt(text []byte, offset int64) int {
	return 1 + bytes.Count(text[:min(max(offset, 0), int64(len(text)))], []byte("\n"))
}

// syntaxFault says in which line the text is no JSON, and why.
func syntaxFault(text []byte) (line int, err error) {
	var v json.RawMessage
	if err = json.Unmarshal(text, &v); err == nil {
		return 0, nil
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return lineAt(text, e.Offset-1), err
	}
	return 1, err
}
