package httpapi

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"imageport/job"
)

// TestEveryCodeHasOneStatus reads the codes where they are declared.
func TestEveryCodeHasOneStatus(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../job/codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[job.Code]int{}
	for _, row := range statuses {
		for _, code := range row.codes {
			rows[code]++
		}
	}
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for _, v := range spec.Values {
			text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared++
			if n := rows[job.Code(text)]; n != 1 {
				t.Errorf("%s has %d statuses", text, n)
			}
		}
		return true
	})
	if declared < 90 || declared != len(rows) {
		t.Errorf("%d codes are declared, and %d have a status", declared, len(rows))
	}
}
