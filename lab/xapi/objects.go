package xapi

import (
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// record is an object: values by the names of its fields, of the types that
// schema.convert gives.
type record map[string]any

func (r record) text(name string) string { s, _ := r[name].(string); return s }

func (r record) number(name string) int64 { n, _ := r[name].(int64); return n }

func (r record) is(name string) bool { b, _ := r[name].(bool); return b }

func (r record) set(name string) []string { s, _ := r[name].([]string); return s }

// dict gives a map, which can be written to.
func (r record) dict(name string) map[string]any {
	m, ok := r[name].(map[string]any)
	if !ok {
		m = make(map[string]any)
		r[name] = m
	}
	return m
}

// words is a map of strings as such, in a copy.
func (r record) words(name string) map[string]string {
	m, _ := r[name].(map[string]any)
	words := make(map[string]string, len(m))
	for k, v := range m {
		words[k], _ = v.(string)
	}
	return words
}

// clone is a copy that shares nothing.
func (r record) clone() record {
	c := make(record, len(r))
	for k, v := range r {
		c[k] = copyOf(v)
	}
	return c
}

func copyOf(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return maps.Clone(v)
	case []string:
		return slices.Clone(v)
	}
	return v
}

// backward are the fields of a class that other objects' references make: who
// refers to this one by which field.
var backward = map[string]map[string][2]string{
	"VM":      {"VBDs": {"VBD", "VM"}, "VIFs": {"VIF", "VM"}},
	"VDI":     {"VBDs": {"VBD", "VDI"}},
	"SR":      {"VDIs": {"VDI", "SR"}, "PBDs": {"PBD", "SR"}},
	"host":    {"PBDs": {"PBD", "host"}, "resident_VMs": {"VM", "resident_on"}},
	"network": {"VIFs": {"VIF", "network"}},
	"session": {"tasks": {"task", "session"}},
}

// referring gives who of a class refers to ref by that field, in order.
func (p *Pool) referring(class, by, ref string) []string {
	all := []string{}
	for r, o := range p.objects[class] {
		if o[by] == ref {
			all = append(all, r)
		}
	}
	slices.Sort(all)
	return all
}

// insert makes an object with what rec has of its fields.
func (p *Pool) insert(class string, rec record) (ref string) {
	o := make(record, len(official().fields[class]))
	for _, f := range official().fields[class] {
		if v, ok := rec[f.name]; ok {
			o[f.name] = v
		} else {
			o[f.name] = copyOf(f.initial)
		}
	}
	o["uuid"] = newUUID()
	ref = "OpaqueRef:" + newUUID()
	if p.objects[class] == nil {
		p.objects[class] = make(map[string]record)
	}
	p.objects[class][ref] = o
	return ref
}

// get gives the object of a reference that was seen to be live.
func (p *Pool) get(class, ref string) record { return p.objects[class][ref] }

// show gives an object as a client sees it.
func (p *Pool) show(class, ref string) record {
	o := p.objects[class][ref].clone()
	for name, by := range backward[class] {
		o[name] = p.referring(by[0], by[1], ref)
	}
	switch class {
	case "VM", "VBD", "VDI", "SR":
		o["allowed_operations"] = p.allowed(class, ref)
	}
	if class == "SR" {
		o["physical_utilisation"] = p.used(ref)
		o["virtual_allocation"] = p.used(ref)
	}
	if class == "session" {
		o["rbac_permissions"], o["is_local_superuser"] = p.permissions(), p.superuser()
	}
	return o
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// stamp is a time as the API writes it.
func stamp(t time.Time) string { return t.UTC().Format("20060102T15:04:05Z") }

// accessor takes the name of a message apart that reads or writes fields as
// every class has it: "add_to", "other_config". The verb is "" for others.
func accessor(message string) (verb, name string) {
	switch message {
	case "get_all", "get_all_records", "get_record", "get_by_uuid", "get_by_name_label":
		return message, ""
	}
	for _, verb := range []string{"add_to", "remove_from", "get", "set", "add", "remove"} {
		if name, ok := strings.CutPrefix(message, verb+"_"); ok {
			return verb, name
		}
	}
	return "", ""
}

// generic reports whether access carries the message out.
func generic(m *message) bool {
	verb, name := accessor(m.verb)
	return verb != "" && (name == "" || official().field(m.class, name) != nil)
}

// access carries out what every class has.
func (c *call) access() (any, error) {
	p, class := c.p, c.m.class
	verb, name := accessor(c.m.verb)
	switch verb {
	case "get_all":
		return slices.Sorted(maps.Keys(p.objects[class])), nil
	case "get_all_records":
		all := make(map[string]record, len(p.objects[class]))
		for ref := range p.objects[class] {
			all[ref] = p.show(class, ref)
		}
		return all, nil
	case "get_by_uuid":
		for ref, o := range p.objects[class] {
			if o["uuid"] == c.params[0] {
				return ref, nil
			}
		}
		return nil, fail("UUID_INVALID", class, c.text(0))
	case "get_by_name_label":
		return p.referring(class, "name_label", c.text(0)), nil
	case "get_record":
		return p.show(class, c.text(0)), nil
	case "get":
		return p.show(class, c.text(0))[name], nil
	}
	o := p.get(class, c.text(0))
	switch verb {
	case "set":
		o[name] = c.params[1]
	case "add_to":
		key := c.text(1)
		if _, there := o.dict(name)[key]; there {
			return nil, fail("MAP_DUPLICATE_KEY", class, name, c.text(0), key)
		}
		o.dict(name)[key] = c.params[2]
	case "remove_from":
		delete(o.dict(name), c.text(1))
	case "add":
		if !slices.Contains(o.set(name), c.text(1)) {
			o[name] = append(o.set(name), c.text(1))
		}
	case "remove":
		o[name] = slices.DeleteFunc(slices.Clone(o.set(name)), func(s string) bool { return s == c.text(1) })
	}
	return "", nil
}
