package convert

import (
	"strings"

	"imageport/engine/source"
	"imageport/job"
)

// Task is one conversion: which image, which output, on whose behalf.
type Task struct {
	// Job is the workflow id. Every GUID of the output is derived from it, so
	// that a job which runs twice writes the same bytes twice.
	Job string `json:"job"`
	// Key is the short name of the job's run that its partial files carry.
	Key string `json:"key"`
	// Storage is where the files are; empty for a local folder, which only the
	// command line works on.
	Storage job.StorageLocation `json:"storage"`
	Input   string              `json:"input"` // file name of the image
	// Output is the file name of the differencing disk. It is empty in
	// Preflight where it is to be the vDisk's next version: Approval names it.
	Output string `json:"output,omitempty"`
	// Format must be that of the image, where it is given.
	Format     job.ImageFormat `json:"format,omitempty"`
	Overwrite  bool            `json:"overwrite,omitempty"`
	IgnoreLock bool            `json:"ignoreLock,omitempty"`
	Options    job.UEFIOptions `json:"options,omitzero"`
}

// FileID identifies one version of a file on the share.
type FileID = source.FileID

// Layer identifies one file of the image.
type Layer = source.Layer

// Approval is what preflight found out: the job may go ahead on this source,
// with this plan.
type Approval struct {
	// Output is the file name of the differencing disk.
	Output string `json:"output"`
	// Version is set where the output is the vDisk's next version.
	Version *Version `json:"version,omitempty"`
	// Source are the files of the image, from the base to the image itself.
	Source []Layer `json:"source"`
	// PlanDigest is the SHA-256 of the plan. The Compositing Engine plans again
	// and must come to the same.
	PlanDigest string `json:"planDigest"`
	// Existing is the output that the job may replace; nil where there is none.
	Existing *FileID `json:"existing,omitempty"`
}

// Composed is an output that is written and verified, but does not have its
// name yet, nor do the files that belong to it.
type Composed struct {
	// Pieces are the files in the order in which they get their names: the
	// output, and those of its version.
	Pieces []Piece    `json:"pieces"`
	Result job.Result `json:"result"`
}

// Piece is a file that waits for its name.
type Piece struct {
	Name string `json:"name"`
	// Partial is the name that it has until then.
	Partial string `json:"partial"`
	// File identifies it, under either name: renaming changes neither. Another
	// run of the same job writes the same bytes, but at another time.
	File FileID `json:"file"`
	// Existing is the file that it replaces; nil where there must be none.
	Existing *FileID `json:"existing,omitempty"`
}

func (p Piece) place() place { return place{p.Name, p.Existing} }

// place is the name of a file of the job, and what was there when it began.
type place struct {
	name     string
	existing *FileID
}

// places are the names that the job's files will have.
func (a Approval) places() []place {
	places := []place{{a.Output, a.Existing}}
	if v := a.Version; v != nil {
		places = append(places, place{v.Manifest, v.ManifestFile})
	}
	return places
}

// path is the UNC path of a file, or just its name in a local folder.
func (t Task) path(name string) string {
	folder, err := t.Storage.Folder()
	if t.Storage == (job.StorageLocation{}) || err != nil {
		return name
	}
	return folder.UNC(name)
}

// partialPrefix begins the names of all files that the job has on the share
// besides its output.
func (t Task) partialPrefix() string { return t.Output + "." + t.Key + "." }

// replaced is where a file that the job replaces waits until the job ends.
func (t Task) replaced(name string) string {
	if name == t.Output {
		return t.partialPrefix() + "replaced"
	}
	return t.partialPrefix() + name + ".replaced"
}

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
