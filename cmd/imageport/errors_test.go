package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"imageport/job"
)

// Every code has a next step, and there is none for a code that is not.
func TestEveryCodeHasANextStep(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "job", "codes.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := make(map[job.Code]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if text, ok := spec.Values[0].(*ast.BasicLit); ok {
			code, err := strconv.Unquote(text.Value)
			if err != nil {
				t.Fatal(err)
			}
			codes[job.Code(code)] = true
		}
		return true
	})
	if len(codes) < 90 {
		t.Errorf("only %d codes were found", len(codes))
	}
	for code := range codes {
		if nextSteps[code] == "" {
			t.Errorf("%s has no next step: say one in errors_next.go", code)
		}
	}
	for code, step := range nextSteps {
		if !codes[code] {
			t.Errorf("there is no code %s", code)
		}
		if strings.HasSuffix(step, ".") || strings.Contains(step, "\n") {
			t.Errorf("%s: %q is not one sentence without a full stop", code, step)
		}
	}
}

// What a user is told of any error says what to do, once.
func TestEveryErrorHasANextStep(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{job.Errorf(job.ShareFull, "Buy a disk", "no space"), "imageport: SHARE_FULL: no space. Buy a disk\n"},
		{job.Errorf(job.ShareFull, "", "no space"), "imageport: SHARE_FULL: no space. Make room on the share, then start the job again\n"},
		{fmt.Errorf("it: %w", job.Errorf(job.JobCanceled, "", "canceled")), "imageport: JOB_CANCELED: it: canceled. Start it again if the result is wanted\n"},
		{job.Errorf("NEWER", "", "of another release"), "imageport: NEWER: of another release. See imageport --help\n"},
		{&fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}, "imageport: open x: file does not exist. Check the path\n"},
		{fs.ErrExist, ". Give the name of a new file\n"},
		{fs.ErrPermission, "or run it as a user who has it\n"},
		{context.DeadlineExceeded, ". Try it again\n"},
		{errors.New("broken"), "imageport: broken. See imageport --help\n"},
	} {
		var out strings.Builder
		a := &app{err: &out, running: true, output: outputText}
		if code := a.report(a.root(), tc.err); code == exitOK || !strings.HasSuffix(out.String(), tc.want) {
			t.Errorf("%d, %q; want %q", code, out.String(), tc.want)
		}
	}
}
