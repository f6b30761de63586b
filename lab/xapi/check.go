package xapi

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// failure is an error of the API: a code and what it is about.
type failure struct {
	code   string
	params []string
}

func fail(code string, params ...string) *failure { return &failure{code: code, params: params} }

func (f *failure) Error() string { return strings.Join(append([]string{f.code}, f.params...), " ") }

// internal is the failure of what is not the caller's fault.
func internal(format string, args ...any) *failure {
	return fail("INTERNAL_ERROR", fmt.Sprintf(format, args...))
}

// convert takes a value off the wire: a json.Number as int64 or float64, a set of
// words as []string, and a record with its fields. It fails if the value is not
// of the type; where names it in the error.
func (s *schema) convert(typ string, v any, where string) (any, error) {
	bad := fail("FIELD_TYPE_ERROR", where)
	switch {
	case isRecord(typ):
		return s.convertRecord(strings.TrimSuffix(typ, " record"), v)
	case isMap(typ):
		in, ok := v.(map[string]any)
		if !ok {
			return nil, bad
		}
		key, value, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(typ, "("), ") map"), " -> ")
		if !ok {
			return nil, bad
		}
		out := make(map[string]any, len(in))
		for k, x := range in {
			if _, err := s.convert(key, k, where); err != nil {
				return nil, err
			}
			x, err := s.convert(value, x, where)
			if err != nil {
				return nil, err
			}
			out[k] = x
		}
		return out, nil
	case isSet(typ):
		return s.convertSet(strings.TrimSuffix(typ, " set"), v, where)
	case isEnum(typ):
		word, ok := v.(string)
		if !ok || !slices.Contains(s.enums[typ[len("enum "):]], word) {
			return nil, bad
		}
		return word, nil
	case isRef(typ), typ == "string", typ == "datetime":
		if _, ok := v.(string); !ok {
			return nil, bad
		}
		return v, nil
	case typ == "bool":
		if _, ok := v.(bool); !ok {
			return nil, bad
		}
		return v, nil
	case typ == "int":
		// A client may also send the digits as a string, as XML-RPC has it.
		digits, ok := v.(string)
		if n, isNumber := v.(json.Number); isNumber {
			digits, ok = n.String(), true
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if !ok || err != nil {
			return nil, bad
		}
		return n, nil
	case typ == "float":
		n, ok := v.(json.Number)
		if !ok {
			return nil, bad
		}
		x, err := n.Float64()
		if err != nil || math.IsInf(x, 0) {
			return nil, bad
		}
		return x, nil
	}
	return nil, bad
}

// convertSet gives a []any for numbers only.
func (s *schema) convertSet(element string, v any, where string) (any, error) {
	in, ok := v.([]any)
	if !ok {
		return nil, fail("FIELD_TYPE_ERROR", where)
	}
	words, others := make([]string, 0, len(in)), make([]any, 0)
	for _, x := range in {
		x, err := s.convert(element, x, where)
		if err != nil {
			return nil, err
		}
		if word, ok := x.(string); ok {
			words = append(words, word)
		} else {
			others = append(others, x)
		}
	}
	if len(others) > 0 {
		return others, nil
	}
	return words, nil
}

// convertRecord takes the arguments of create: all that must be given, and no
// field that the class does not have. A pool does not mind the latter; a
// misspelt argument that a client thinks it has given is worth finding here.
func (s *schema) convertRecord(class string, v any) (any, error) {
	in, ok := v.(map[string]any)
	if !ok {
		return nil, fail("FIELD_TYPE_ERROR", class)
	}
	out := make(record, len(s.fields[class]))
	for _, f := range s.fields[class] {
		x, given := in[f.name]
		switch {
		case !given && f.required:
			return nil, fail("FIELD_TYPE_ERROR", class+"."+f.name)
		case !given || !f.argument:
			continue
		}
		x, err := s.convert(f.typ, x, class+"."+f.name)
		if err != nil {
			return nil, err
		}
		out[f.name] = x
	}
	for name := range in {
		if s.field(class, name) == nil {
			return nil, fail("FIELD_TYPE_ERROR", class+"."+name)
		}
	}
	return out, nil
}

// live refuses references to what is not there. A field may refer to nothing.
func (p *Pool) live(typ string, v any) error {
	switch {
	case isRecord(typ):
		class := strings.TrimSuffix(typ, " record")
		for name, x := range v.(record) {
			if x == null {
				continue
			}
			if err := p.live(official().field(class, name).typ, x); err != nil {
				return err
			}
		}
	case isRef(typ):
		class := strings.TrimSuffix(typ, " ref")
		// There are no objects of the other classes.
		if _, simulated := official().fields[class]; simulated && p.objects[class][v.(string)] == nil || !simulated && v != null {
			return fail("HANDLE_INVALID", class, v.(string))
		}
	}
	return nil
}
