package job

import "time"

// State is how a job stands as a whole.
type State string

// The states of a job.
const (
	StateRunning    State = "running"
	StateCompleted  State = "completed"
	StateFailed     State = "failed"
	StateCanceled   State = "canceled"
	StateTerminated State = "terminated" // ended from outside, without clean-up
)

// Phase is what a running job is doing, and where an ended one stopped.
type Phase string

// The phases of a job, in order.
const (
	PhasePreflight Phase = "preflight" // checking everything that can be refused
	PhaseCreateCE  Phase = "createCE"  // creating the Compositing Engine
	PhaseEnrol     Phase = "enrol"     // waiting for it to report
	PhaseCompose   Phase = "compose"   // it works on the image
	PhasePublish   Phase = "publish"   // the output gets its name
	PhaseTearDown  Phase = "tearDown"  // the CE and partial files are removed
	PhaseDone      Phase = "done"
)

// Progress is how far the current step is. It travels in heartbeats.
type Progress struct {
	Step       string `json:"step"`
	DoneBytes  int64  `json:"doneBytes"`
	TotalBytes int64  `json:"totalBytes,omitempty"` // 0 = not known
}

// Status is one job as the query "status", the command line, the Go client and
// HTTP show it.
type Status struct {
	JobID     string     `json:"jobId"`
	RunID     string     `json:"runId"`
	Operation Operation  `json:"operation"`
	Platform  string     `json:"platform,omitempty"`
	Image     string     `json:"image,omitempty"`  // UNC path
	Output    string     `json:"output,omitempty"` // UNC path
	State     State      `json:"state"`
	Phase     Phase      `json:"phase,omitempty"`
	CE        string     `json:"ce,omitempty"` // name of the Compositing Engine
	Started   time.Time  `json:"started"`
	Ended     *time.Time `json:"ended,omitempty"`
	Progress  *Progress  `json:"progress,omitempty"`
	Warnings  []string   `json:"warnings,omitempty"`
	Error     *Error     `json:"error,omitempty"`
	Result    *Result    `json:"result,omitempty"`
}

// Result is what a completed convertToUefi job made.
type Result struct {
	Output             string      `json:"output"` // UNC path
	OutputFile         string      `json:"outputFile"`
	SizeBytes          int64       `json:"sizeBytes"`
	SHA256             string      `json:"sha256"` // of the output file
	VirtualSizeBytes   int64       `json:"virtualSizeBytes"`
	ChangedBytes       int64       `json:"changedBytes"` // guest-visible, in pages of 4 KiB
	DataWriteGUID      string      `json:"dataWriteGuid"`
	Parent             Parent      `json:"parent"`
	DiskGUID           string      `json:"diskGuid"`
	ESPPlacement       string      `json:"espPlacement"` // "gap" or "reuse"
	Partitions         []Partition `json:"partitions"`
	WindowsProduct     string      `json:"windowsProduct"`
	WindowsBuild       int         `json:"windowsBuild"`
	BytesRead          int64       `json:"bytesRead"`    // from the share, by the CE
	BytesWritten       int64       `json:"bytesWritten"` // to the share, by the CE
	Warnings           []string    `json:"warnings,omitempty"`
	CompositingEngines int         `json:"compositingEngines"` // how many it took: more than 1 when one was lost
}

// Parent is the image that a differencing disk depends on.
type Parent struct {
	File          string    `json:"file"`
	SizeBytes     int64     `json:"sizeBytes"`
	Modified      time.Time `json:"modified"`
	DataWriteGUID string    `json:"dataWriteGuid"`
}

// Partition is one partition of the output.
type Partition struct {
	Number     int    `json:"number"` // from 1
	Name       string `json:"name"`
	Type       string `json:"type"` // GUID
	ID         string `json:"id"`   // GUID
	StartBytes int64  `json:"startBytes"`
	SizeBytes  int64  `json:"sizeBytes"`
}
