// Package embedded holds the runner (cmd/firstboot), as make build has made it, in
// the programs that bring it into a Windows. The repository has none: a program
// that was built without says so by [ErrMissing], and is otherwise complete.
package embedded

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

// ErrMissing is wrapped by the error of Runner in a program that was built
// without it.
var ErrMissing = errors.New("this program was built without the first-boot runner (run make build)")

// files is a directory, so that it is there without the runner.
//
//go:embed files
var files embed.FS

const runnerFile = "files/firstboot-amd64.exe"

// Runner gives the program of the service: a PE of Windows x64. The bytes are the
// caller's.
func Runner() ([]byte, error) { return runner(files) }

func runner(files fs.FS) ([]byte, error) {
	b, err := fs.ReadFile(files, runnerFile)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
		return nil, ErrMissing
	}
	if err != nil {
		return nil, fmt.Errorf("%s in this program: %w", runnerFile, err)
	}
	return b, nil
}
