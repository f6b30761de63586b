package xapi

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write schema.txt from the official description named by XENAPI_JSON")

// classes are those that the table has.
var classes = []string{
	"session", "task", "pool", "host", "host_metrics", "network", "SR", "PBD",
	"VM", "VM_metrics", "VM_guest_metrics", "VBD", "VDI", "VIF",
}

// description is a class in xen-api's doc/data/xenapi.json.
type description struct {
	Name   string
	Fields []struct {
		Name, Type, Qualifier, Default string
		Lifecycle                      struct{ State string }
	}
	Messages []struct {
		Name, Description string
		Implicit          bool
		Result            []string
		Params            []struct{ Type string }
		Roles             []string
		Lifecycle         struct{ State string }
	}
	Enums []struct {
		Name   string
		Values []struct{ Name string }
	}
}

// TestSchemaIsTheOfficialOne compares the table with xen-api's file, which is
// not ours to keep here.
func TestSchemaIsTheOfficialOne(t *testing.T) {
	path := os.Getenv("XENAPI_JSON")
	if path == "" {
		t.Log("XENAPI_JSON does not name xen-api's doc/data/xenapi.json: nothing to compare with")
		return
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []description
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	want := table(all)
	if *update {
		if err := os.WriteFile("schema.txt", []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	have := strings.Split(schemaText, "\n")
	official := strings.Split(want, "\n")
	for _, line := range official {
		if !slices.Contains(have, line) {
			t.Errorf("missing: %q", line)
		}
	}
	for _, line := range have {
		if !slices.Contains(official, line) {
			t.Errorf("not official: %q", line)
		}
	}
}

// table gives what schema.txt is to be.
func table(all []description) string {
	var enums, fields, messages []string
	used := make(map[string]bool)
	for _, name := range classes {
		i := slices.IndexFunc(all, func(d description) bool { return d.Name == name })
		class := all[i]
		arguments := constructor(class)
		known := make(map[string]bool)
		for _, f := range class.Fields {
			if f.Lifecycle.State == "Removed_s" {
				continue
			}
			known[f.Name] = true
			argument := "-"
			if s, ok := arguments[f.Name]; ok {
				argument = s
			}
			fields = append(fields, strings.Join([]string{"field", name, f.Name, f.Type, argument, f.Default}, "\t"))
			used[f.Type] = true
		}
		for _, m := range class.Messages {
			full := name + "." + m.Name
			if _, ours := handlers[full]; !ours {
				_, subject := accessor(m.Name)
				if !m.Implicit || m.Name == "create" || m.Name == "destroy" || subject != "" && !known[subject] || m.Lifecycle.State == "Removed_s" {
					continue
				}
				if verb, _ := accessor(m.Name); verb == "" {
					continue
				}
			}
			async := ""
			if name != "session" && full != "task.create" && !strings.HasPrefix(m.Name, "get_") && (!m.Implicit || m.Name == "create" || m.Name == "destroy") {
				async = "async"
			}
			var params []string
			for _, p := range m.Params {
				params = append(params, p.Type)
				used[p.Type] = true
			}
			messages = append(messages, strings.Join([]string{"message", full, least(m.Roles), async, strings.Join(params, ", "), m.Result[0]}, "\t"))
		}
	}
	for _, d := range all {
		for _, e := range d.Enums {
			in := func(typ string) bool { return used[typ] }
			if !in("enum "+e.Name) && !in("enum "+e.Name+" set") && !in("(string -> enum "+e.Name+") map") {
				continue
			}
			var values []string
			for _, v := range e.Values {
				values = append(values, v.Name)
			}
			enums = append(enums, strings.Join([]string{"enum", e.Name, strings.Join(values, " ")}, "\t"))
		}
	}
	slices.Sort(enums)
	slices.Sort(messages)
	return strings.Join(slices.Concat(slices.Compact(enums), fields, messages), "\n") + "\n"
}

// constructor gives the arguments of a class's create, from its description:
// "*" those that must be given.
func constructor(d description) map[string]string {
	args := make(map[string]string)
	for _, m := range d.Messages {
		_, list, ok := strings.Cut(m.Description, "The constructor args are: ")
		if m.Name != "create" || !ok {
			continue
		}
		list, _, _ = strings.Cut(list, " (* = ")
		for _, arg := range strings.Split(list, ", ") {
			if name, must := strings.CutSuffix(arg, "*"); must {
				args[name] = "*"
			} else {
				args[name] = "+"
			}
		}
	}
	return args
}

func least(have []string) string {
	for _, r := range roles {
		if slices.Contains(have, r) {
			return r
		}
	}
	return ""
}

func TestEveryMessageIsSimulated(t *testing.T) {
	for name, m := range official().messages {
		if _, ok := handlers[name]; !ok && !generic(m) {
			t.Errorf("%s is in the table only", name)
		}
	}
	for name := range handlers {
		if official().messages[name] == nil && !extra[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
}

func TestSchemaRefusesNonsense(t *testing.T) {
	for _, text := range []string{"", "x", "field\tVM", fmt.Sprintf("enum\tx\t%s\ty", "a b")} {
		if _, err := parseSchema(text); err == nil {
			t.Errorf("%q", text)
		}
	}
}
