package catalogue

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// members are the keys that adding writes. What has a default is left out.
func (a Addition) members(in Installer) []member {
	list := []member{
		textMember("product", in.Product), textMember("version", in.Version), textMember("arch", in.Arch),
		textMember("file", in.File), textMember("sha256", in.SHA256), textMember("productVersion", in.ProductVersion),
	}
	if a.Args != nil {
		list = append(list, textMember("args", *a.Args))
	}
	if a.MinFrom != "" {
		list = append(list, textMember("minFrom", in.MinFrom))
	}
	return list
}

func textMember(key, value string) member { return member{key: key, value: quote(value)} }

// quote is a text in JSON, with & and < as they are.
func quote(s string) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // every text has a form
	return bytes.TrimSpace(b.Bytes())
}

// enter puts keys into the installer of that index, or with -1 into a new one at
// the end. All else in the text stays, in its order.
func enter(text []byte, at int, keys []member) ([]byte, error) {
	top, err := members(bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff"))), 0)
	if err != nil {
		return nil, err
	}
	i := index(top, "installers")
	if i < 0 {
		top = append(top, member{key: "installers", value: json.RawMessage("[]")})
		i = len(top) - 1
	}
	list, err := elements(top[i].value, 0)
	if err != nil {
		return nil, err
	}
	if at < 0 {
		at = len(list)
		list = append(list, member{value: json.RawMessage("{}")})
	}
	old, err := members(list[at].value, 0)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if j := index(old, k.key); j >= 0 {
			old[j].value = k.value
		} else {
			old = append(old, k)
		}
	}
	list[at].value = object(old)
	top[i].value = array(list)
	var b bytes.Buffer
	if err := json.Indent(&b, object(top), "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func object(list []member) json.RawMessage {
	parts := make([]string, len(list))
	for i, m := range list {
		parts[i] = string(quote(m.key)) + ":" + string(m.value)
	}
	return json.RawMessage("{" + strings.Join(parts, ",") + "}")
}

func array(list []member) json.RawMessage {
	values := make([][]byte, len(list))
	for i, m := range list {
		values[i] = m.value
	}
	return slices.Concat([]byte("["), bytes.Join(values, []byte(",")), []byte("]"))
}
