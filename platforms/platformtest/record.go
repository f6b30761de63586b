package platformtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// EnvRecord names the environment variable with the directory in which Run
// leaves what came of each case, for the table in docs/conformance.md:
// PLATFORM.json, an object from the case to whether it passed. The platform is
// the name of the package under test.
const EnvRecord = "IMAGEPORT_CONFORMANCE"

// record is what came of the cases so far.
type record struct {
	mu     sync.Mutex
	passed map[string]bool
}

// newRecord gives a record that is written when t has ended.
func newRecord(t *testing.T) *record {
	r := &record{passed: make(map[string]bool)}
	dir := os.Getenv(EnvRecord)
	if dir == "" {
		return r
	}
	t.Cleanup(func() {
		if err := r.write(dir); err != nil {
			t.Error(err)
		}
	})
	return r
}

// watch notes the outcome of a case when that has ended. One that is skipped does
// not apply.
func (r *record) watch(t *testing.T, name string) {
	t.Cleanup(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !t.Skipped() {
			r.passed[name] = !t.Failed()
		}
	})
}

func (r *record) write(dir string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	here, err := os.Getwd() // that of the package, in a test
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(r.passed, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, filepath.Base(here)+".json"), append(b, '\n'), 0o644)
}
