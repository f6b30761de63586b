package xapi

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// schemaText is what the official description of the API says of what is
// simulated here: the fields of classes, messages with the types of their
// parameters and results, enumerations. One fact a line, fields by tabs:
//
//	enum     name, values
//	field    class, name, type, argument of create (* must, + may, - no), default
//	message  class.name, least role, "async" if it has that mode, types of parameters, type of result
//
//go:embed schema.txt
var schemaText string

type schema struct {
	enums    map[string][]string
	fields   map[string][]*field // by class, in the order of the table
	messages map[string]*message
}

type field struct {
	name, typ          string
	required, argument bool // of create
	initial            any  // what a new object has
}

type message struct {
	class, verb string
	role        string // the least one that may
	async       bool
	params      []string // types, with the session's
	result      string
}

// official is the table, which is our own: that it cannot be read is a mistake
// in this package, which its tests find.
var official = sync.OnceValue(func() *schema {
	s, err := parseSchema(schemaText)
	if err != nil {
		panic(err)
	}
	return s
})

func parseSchema(text string) (*schema, error) {
	s := &schema{enums: make(map[string][]string), fields: make(map[string][]*field), messages: make(map[string]*message)}
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		col := strings.Split(line, "\t")
		switch {
		case col[0] == "enum" && len(col) == 3:
			s.enums[col[1]] = strings.Fields(col[2])
		case col[0] == "field" && len(col) == 6:
			f := &field{name: col[2], typ: col[3], required: col[4] == "*", argument: col[4] != "-"}
			f.initial = s.initial(f.typ, col[5])
			s.fields[col[1]] = append(s.fields[col[1]], f)
		case col[0] == "message" && len(col) == 6:
			class, verb, _ := strings.Cut(col[1], ".")
			s.messages[col[1]] = &message{class: class, verb: verb, role: col[2], async: col[3] == "async", params: split(col[4]), result: col[5]}
		default:
			return nil, fmt.Errorf("xapi: line %d of the schema: %q", n+1, line)
		}
	}
	return s, nil
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ", ")
}

// null is the reference to nothing.
const null = "OpaqueRef:NULL"

// epoch is a time that has not come yet.
const epoch = "19700101T00:00:00Z"

// initial gives the value of a field of a new object.
func (s *schema) initial(typ, given string) any {
	switch {
	case isSet(typ):
		return []string{}
	case isMap(typ):
		return map[string]any{}
	case isRef(typ):
		return null
	case typ == "bool":
		return given == "true"
	case typ == "int":
		n, _ := strconv.ParseInt(given, 10, 64) // none is 0
		return n
	case typ == "float":
		x, _ := strconv.ParseFloat(given, 64) // none is 0
		return x
	case typ == "datetime":
		return epoch
	case isEnum(typ) && given == "":
		if all := s.enums[typ[len("enum "):]]; len(all) > 0 {
			return all[0]
		}
	}
	return strings.Trim(given, `"`)
}

// The kinds of types, "VM ref set" among them.
func isSet(typ string) bool    { return strings.HasSuffix(typ, " set") }
func isMap(typ string) bool    { return strings.HasSuffix(typ, " map") }
func isRef(typ string) bool    { return strings.HasSuffix(typ, " ref") }
func isRecord(typ string) bool { return strings.HasSuffix(typ, " record") }
func isEnum(typ string) bool   { return strings.HasPrefix(typ, "enum ") && !isSet(typ) }

// field gives a class's field, nil if it has none of that name.
func (s *schema) field(class, name string) *field {
	for _, f := range s.fields[class] {
		if f.name == name {
			return f
		}
	}
	return nil
}

// roles are ordered by what they may: each may what those before it may.
var roles = []string{"read-only", "vm-operator", "vm-admin", "vm-power-admin", "pool-operator", "pool-admin"}
