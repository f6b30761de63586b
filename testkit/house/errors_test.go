package house

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"imageport/job"
)

var update = flag.Bool("update", false, "write docs/errors.md anew")

// catalogue is where every error that a person may see is listed.
const catalogue = "docs/errors.md"

// code is one of job's, with what the sources say about it.
type code struct {
	name, value, about, group string
	uses                      []use
}

// use is a place that gives the code.
type use struct{ message, remedy string }

// The error catalogue is made from the code: from the codes with their comments,
// and from the messages and remedies of the places that give them.
func TestErrorCatalogue(t *testing.T) {
	root := filepath.Join("..", "..")
	codes := readCodes(t, filepath.Join(root, "job", "codes.go"))
	byName := map[string]*code{}
	for _, c := range codes {
		byName[c.name] = c
	}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && path != root && (strings.HasPrefix(e.Name(), ".") || slices.Contains([]string{"node_modules", "testdata", "build", "bin", "tools"}, e.Name())) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		return readUses(path, byName)
	})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# Error catalogue\n\nMade from the code by `go test ./testkit/house -run ErrorCatalogue -args -update`. Codes are stable; they are the failure types in Temporal and\nthe codes of the HTTP API. `…` is what was found. Those marked *retried* are tried again for a while before a job fails with them.\n")
	group := ""
	for _, c := range codes {
		if c.group != group {
			group = c.group
			fmt.Fprintf(&b, "\n## %s\n", strings.TrimSuffix(group, "."))
		}
		fmt.Fprintf(&b, "\n### `%s`\n\n", c.value)
		about := c.about
		if job.Code(c.value).Transient() && !strings.Contains(about, "retried") {
			about = strings.TrimSpace(about + " (retried for a while)")
		}
		if about != "" {
			fmt.Fprintf(&b, "%s.\n\n", strings.ToUpper(about[:1])+about[1:])
		}
		slices.SortFunc(c.uses, func(x, y use) int { return strings.Compare(x.message+x.remedy, y.message+y.remedy) })
		for _, u := range slices.Compact(c.uses) {
			fmt.Fprintf(&b, "- %s", u.message)
			if u.remedy != "" {
				fmt.Fprintf(&b, "\n  **→** %s", u.remedy)
			}
			b.WriteString("\n")
		}
	}
	path := filepath.Join(root, catalogue)
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != b.String() {
		t.Errorf("%s is not what the code says (%v): go test ./testkit/house -run ErrorCatalogue -args -update", catalogue, err)
	}
}

// readCodes reads the constants of type Code, in order.
func readCodes(t *testing.T, path string) []*code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var codes []*code
	for _, d := range file.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, s := range group.Specs {
			v := s.(*ast.ValueSpec)
			if name, ok := v.Type.(*ast.Ident); !ok || name.Name != "Code" || len(v.Values) != 1 {
				continue
			}
			value, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, &code{name: v.Names[0].Name, value: value, about: strings.TrimSpace(v.Comment.Text()), group: strings.TrimSpace(group.Doc.Text())})
		}
	}
	return codes
}

// readUses finds the calls of job.Errorf in a file.
func readUses(path string, codes map[string]*code) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) < 3 {
			return true
		}
		var c *code
		switch f := call.Fun.(type) {
		case *ast.SelectorExpr: // job.Errorf
			from, ok := f.X.(*ast.Ident)
			if !ok || from.Name != "job" || f.Sel.Name != "Errorf" {
				return true
			}
			if sel, ok := call.Args[0].(*ast.SelectorExpr); ok {
				c = codes[sel.Sel.Name]
			}
		case *ast.Ident: // in job itself
			if name, ok := call.Args[0].(*ast.Ident); ok && f.Name == "Errorf" && file.Name.Name == "job" {
				c = codes[name.Name]
			}
		}
		message := text(arg(call, 2))
		if c != nil && strings.Trim(message, "… ") != "" {
			c.uses = append(c.uses, use{message, text(arg(call, 1))})
		}
		return true
	})
	return nil
}

func arg(call *ast.CallExpr, i int) ast.Expr { return call.Args[i] }

// text is what an expression of strings says, with … for what it is told when it
// runs.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		if err != nil {
			return "…"
		}
		return verbs(s)
	case *ast.BinaryExpr:
		return text(e.X) + text(e.Y)
	case *ast.CallExpr: // fmt.Sprintf
		if len(e.Args) > 0 {
			if f, ok := e.Fun.(*ast.SelectorExpr); ok && strings.HasPrefix(f.Sel.Name, "Sprintf") {
				return text(e.Args[0])
			}
		}
	}
	return "…"
}

// verbs puts … for the verbs of a format.
func verbs(format string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		i++
		for i < len(format) && strings.IndexByte("+-# 0123456789.[]*", format[i]) >= 0 {
			i++
		}
		if i < len(format) && format[i] == '%' {
			b.WriteByte('%')
			continue
		}
		b.WriteString("…")
	}
	return strings.ReplaceAll(b.String(), "\n", " ")
}
