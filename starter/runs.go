package starter

import (
	"sync"

	"github.com/google/uuid"
)

// maxRuns bounds what a Client remembers. A run takes some 200 bytes.
const maxRuns = 10_000

// runIndex remembers which job a run is of: without it, every look at a run by
// its id is a search first. What a run is of never changes.
type runIndex struct {
	mu   sync.Mutex
	jobs map[string]string // job id by run id
}

func (x *runIndex) job(runID string) (string, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	id, ok := x.jobs[runID]
	return id, ok
}

func (x *runIndex) add(runID, jobID string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.jobs == nil || len(x.jobs) >= maxRuns {
		x.jobs = map[string]string{} // those still asked for come back
	}
	x.jobs[runID] = jobID
}

// isRunID reports whether id has the form of a run id.
func isRunID(id string) bool {
	_, err := uuid.Parse(id)
	return err == nil && len(id) == 36
}
