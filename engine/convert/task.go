package convert

import (
	"imageport/engine/publish"
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
type Piece = publish.Piece

// places are the names that the job's files will have.
func (a Approval) places() []publish.Place {
	places := []publish.Place{{Name: a.Output, Existing: a.Existing}}
	if v := a.Version; v != nil {
		places = append(places, publish.Place{Name: v.Manifest, Existing: v.ManifestFile})
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

// names are those of the job's files beside the output.
func (t Task) names() publish.Names { return publish.Names{Output: t.Output, Key: t.Key} }
