package hive

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func command(t testing.TB, stdin io.Reader, name string, args ...string) []byte {
	t.Helper()
	c := exec.Command(name, args...)
	var out, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = stdin, &out, &stderr
	if err := c.Run(); err != nil {
		t.Fatalf("%s %s: %v: %.500s", name, strings.Join(args, " "), err, stderr.String())
	}
	return out.Bytes()
}

func tempFile(t testing.TB, b []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "hive")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func corpus(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var unpackSystem = sync.OnceValues(func() ([]byte, error) {
	return exec.Command("xz", "-dc", "testdata/win10-mbr.SYSTEM.xz").Output()
})

// systemHive is the SYSTEM hive of a Windows 10, which was copied while dirty.
func systemHive(t testing.TB) []byte {
	t.Helper()
	b, err := unpackSystem()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b)
}

// cleanSystemHive pretends that the logs of systemHive have been applied.
func cleanSystemHive(t testing.TB) []byte {
	b := systemHive(t)
	copy(b[8:12], b[4:8])
	le.PutUint32(b[checksumAt:], checksum(b))
	return b
}

// contents maps the path of every key and value to what it holds, in words.
type contents map[string]string

func contentsOf(k *Key) contents {
	c := contents{}
	c.add("", k)
	return c
}

func (c contents) add(path string, k *Key) {
	c[path+`\`] = "key"
	for _, v := range k.Values {
		var text string
		switch v.Type {
		case String, ExpandString:
			text = fmt.Sprintf("%q", v.String())
		case MultiString:
			text = fmt.Sprintf("%q", v.Strings())
		case DWord, QWord:
			n, _ := v.Uint64()
			text = strconv.FormatInt(int64(n), 10)
			if v.Type == DWord {
				text = strconv.FormatInt(int64(int32(n)), 10)
			}
		default:
			text = base64.StdEncoding.EncodeToString(v.Data)
		}
		c[path+`\`+v.Name+"="] = text
	}
	for _, s := range k.Subkeys {
		c.add(path+`\`+s.Name, s)
	}
}

// hivexContents is what libhivex finds in a hive. The output of hivexml is
// scanned by hand: there are 24 MB of it for a SYSTEM hive.
func hivexContents(t testing.TB, b []byte) contents {
	t.Helper()
	out := string(command(t, nil, "hivexml", tempFile(t, b)))
	c := contents{}
	var path []string // of the node that is open
	var value string  // path of the value that is open
	var list []string // its strings
	for tag := range strings.SplitSeq(out, "<") {
		tag, text, _ := strings.Cut(tag, ">")
		switch name, attributes, _ := strings.Cut(tag, " "); name {
		case "node":
			name := attribute(attributes, "name")
			if len(path) == 0 {
				name = ""
			} else {
				name = path[len(path)-1] + `\` + name
			}
			path = append(path, name)
			c[name+`\`] = "key"
		case "/node":
			path = path[:len(path)-1]
		case "value":
			value, list = path[len(path)-1]+`\`+attribute(attributes, "key")+"=", nil
			content := attribute(attributes, "value")
			switch typ := attribute(attributes, "type"); {
			case attribute(attributes, "encoding") == "base64": // in lines
				content = strings.Join(strings.Fields(content), "")
			case typ == "string" || typ == "expand":
				content = fmt.Sprintf("%q", content)
			case typ == "string-list":
				content = "[]"
			}
			c[value] = content
		case "string":
			list = append(list, html.UnescapeString(text))
		case "/value":
			for len(list) > 0 && list[len(list)-1] == "" {
				list = list[:len(list)-1]
			}
			if len(list) > 0 {
				c[value] = fmt.Sprintf("%q", list)
			}
		}
	}
	if len(path) != 0 {
		t.Fatalf("hivexml: nodes %q are not closed", path)
	}
	return c
}

func attribute(attributes, name string) string {
	_, value, _ := strings.Cut(" "+attributes, " "+name+`="`)
	value, _, _ = strings.Cut(value, `"`)
	return html.UnescapeString(value)
}

func sameContents(t testing.TB, what string, got, want contents) {
	t.Helper()
	bad := 0
	for path, w := range want {
		if g, ok := got[path]; !ok || g != w {
			if bad++; bad < 10 {
				t.Errorf("%s: %s: have %.120s (%v), want %.120s", what, path, g, ok, w)
			}
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			if bad++; bad < 10 {
				t.Errorf("%s: %s should not be there", what, path)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%s: %d differences in %d keys and values", what, bad, len(want))
	}
}

// reglookupPaths is what reglookup finds in a hive: paths, and the types of
// values.
func reglookupPaths(t testing.TB, b []byte) []string {
	t.Helper()
	var list []string
	for line := range strings.Lines(string(command(t, nil, "reglookup", "-H", tempFile(t, b)))) {
		f := strings.SplitN(line, ",", 3)
		list = append(list, f[0]+" "+f[1])
	}
	return list
}
