package convert

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"imageport/job"
)

// Task is one conversion: which image, which output, on whose behalf.
type Task struct {
	// Job is the workflow id. Every GUID of the output is derived from it, so
	// that a job which runs twice writes the same bytes twice.
	Job string `json:"job"`
	// Key is the short name of the job's run that its partial files carry.
	Key       string              `json:"key"`
	Storage   job.StorageLocation `json:"storage"`
	Input     string              `json:"input"`  // file name of the image
	Output    string              `json:"output"` // file name of the differencing disk
	Format    job.ImageFormat     `json:"format"`
	Overwrite bool                `json:"overwrite,omitempty"`
}

// FileID identifies one version of a file on the share.
type FileID struct {
	SizeBytes int64     `json:"sizeBytes"`
	Modified  time.Time `json:"modified"`
}

// Approval is what preflight found out: the job may go ahead on this source,
// with this plan.
type Approval struct {
	Source        FileID    `json:"source"`
	DataWriteGUID uuid.UUID `json:"dataWriteGuid"` // of the source
	// PlanDigest is the SHA-256 of the plan. The Compositing Engine plans again
	// and must come to the same.
	PlanDigest string `json:"planDigest"`
	// Existing is the output that the job may replace; nil where there is none.
	Existing *FileID  `json:"existing,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Composed is an output that is written and verified, but does not have its
// name yet.
type Composed struct {
	// Partial is the file that holds it.
	Partial string `json:"partial"`
	// File identifies it, under either name: renaming changes neither. Another
	// run of the same job writes the same bytes, but at another time.
	File   FileID     `json:"file"`
	Result job.Result `json:"result"`
}

// partialPrefix begins the names of all files that the job has on the share
// besides its output.
func (t Task) partialPrefix() string { return t.Output + "." + t.Key + "." }

// replaced is where the output that the job replaces waits until the job ends.
func (t Task) replaced() string { return t.partialPrefix() + "replaced" }

// isPartial reports whether name is a partial output of this job.
func (t Task) isPartial(name string) bool {
	return strings.HasPrefix(strings.ToLower(name), strings.ToLower(t.partialPrefix())) && strings.HasSuffix(name, ".partial")
}

// claim is the file that says that this job publishes its output.
func (t Task) claim() string { return t.partialPrefix() + "claim" }

// claimedBy gives the key of the job whose claim on the same output the file is.
func (t Task) claimedBy(name string) (key string, ok bool) {
	rest, ok := strings.CutPrefix(strings.ToLower(name), strings.ToLower(t.Output)+".")
	if !ok {
		return "", false
	}
	key, ok = strings.CutSuffix(rest, ".claim")
	return key, ok && key != "" && !strings.Contains(key, ".")
}
