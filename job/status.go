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
	PhaseBoot      Phase = "boot"      // the copy's Windows runs, and installs
	PhaseVerify    Phase = "verify"    // firmware starts the output
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
	JobID     string    `json:"jobId"`
	RunID     string    `json:"runId"`
	Operation Operation `json:"operation"`
	Platform  string    `json:"platform,omitempty"`
	// ResourceLocation is the id of the resource location whose worker carries the
	// job on. A worker's own answer leaves it out.
	ResourceLocation string     `json:"resourceLocationId,omitempty"`
	Image            string     `json:"image,omitempty"`  // UNC path
	Output           string     `json:"output,omitempty"` // UNC path
	State            State      `json:"state"`
	Phase            Phase      `json:"phase,omitempty"`
	CE               string     `json:"ce,omitempty"` // name of the Compositing Engine
	Started          time.Time  `json:"started"`
	Ended            *time.Time `json:"ended,omitempty"`
	Progress         *Progress  `json:"progress,omitempty"`
	Warnings         []string   `json:"warnings,omitempty"`
	Error            *Error     `json:"error,omitempty"`
	Result           *Result    `json:"result,omitempty"`
	// Guest is how the Windows of an upgradePvs job was left, where that is of use:
	// also of a job that failed.
	Guest *GuestReport `json:"guest,omitempty"`
}

// GuestReport is what is known of a Windows that an upgradePvs job started.
type GuestReport struct {
	// Log is the end of the runner's log, Logs those of installers.
	Log  string     `json:"log,omitempty"`
	Logs []GuestLog `json:"logs,omitempty"`
	// Screen is a picture of the screen at the time-out, as PNG.
	Screen []byte `json:"screen,omitempty"`
}

// GuestLog is the end of a log file.
type GuestLog struct {
	Name string `json:"name"`
	Tail string `json:"tail"`
}
