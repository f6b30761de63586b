package plan

import "time"

// The runner in its Windows. Paths are those that Windows has for its volume C:.
const (
	// Service is the name of the runner's service (own process, automatic start,
	// LocalSystem), and the argument with which it runs as one.
	Service    = "imageport-firstboot"
	ServiceArg = "-service"
	// Folder holds everything that is ours. Only SYSTEM and Administrators have
	// access to it.
	Folder = `C:\ProgramData\imageport-firstboot`
	// What is in Folder.
	RunnerFile = "firstboot.exe"
	PlanFile   = "plan.json"
	StateFile  = "state.json"
	LogFile    = "firstboot.log"
	// LogDir in Folder is for logs of installers.
	LogDir = "logs"
	// FilesDir in Folder has the files of the steps.
	FilesDir = "files"
)

// Version is that of the formats of the two files.
const Version = 1

// Plan says what to do. The runner does the steps in order, over as many starts
// of Windows as it takes within the bounds, disarms itself, and switches the
// machine off: whether it succeeded, failed or met a bound.
type Plan struct {
	Version int    `json:"version"`
	Job     string `json:"job"`
	// MaxBoots is how often Windows may start with the runner armed.
	MaxBoots int `json:"maxBoots"`
	// DeadlineSeconds bounds the time from the first start of the runner.
	DeadlineSeconds int `json:"deadlineSeconds"`
	// SettleSeconds bounds each wait for Windows to have started its services, and
	// installed its devices, before a step.
	SettleSeconds int `json:"settleSeconds"`
	// MaxPendingReboots is how often Windows is started anew because a reboot was
	// pending before the first step.
	MaxPendingReboots int    `json:"maxPendingReboots"`
	Steps             []Step `json:"steps"`
}

// Step runs one program to its end.
type Step struct {
	// Name is for people, and unique in the plan.
	Name string `json:"name"`
	// Command is the command line as CreateProcess takes it; %variables% of the
	// environment are expanded.
	Command string `json:"command"`
	// File is the program or package in FilesDir that the command runs, and SHA256
	// its hash in hexadecimal, checked directly before; "" where there is none.
	File   string `json:"file,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// Detect tells that the step is done, also where nobody saw its end: all of
	// them must hold. A step without is done when its program has said so.
	Detect []Detect `json:"detect,omitempty"`
	// Exit codes: OK is done; Reboot is done after Windows has started anew; Retry
	// is to be tried again after a wait. All others have failed.
	OK     []int `json:"ok"`
	Reboot []int `json:"reboot,omitempty"`
	Retry  []int `json:"retry,omitempty"`
	// TimeoutSeconds is how long the program and all that it started may run.
	TimeoutSeconds int `json:"timeoutSeconds"`
	// Session is SessionConsole or SessionService.
	Session string `json:"session,omitempty"`
	// Optional: that it failed is noted, and does not end the plan.
	Optional bool `json:"optional,omitempty"`
}

// Where a step's program runs. Both as LocalSystem.
const (
	// SessionConsole is the session of the machine's screen: some custom actions of
	// installers do nothing elsewhere, and say they did. Without a session there,
	// it is that of the service.
	SessionConsole = "console"
	SessionService = "service"
)

// Detect is a value of the registry below HKEY_LOCAL_MACHINE in any of the
// subkeys of Key.
type Detect struct {
	// Key is the parent, such as SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall.
	Key string `json:"key"`
	// NamePattern is a regular expression (RE2) for the string value DisplayName of
	// the subkey, and Version what its DisplayVersion must be: equal in all the
	// numbers that it has.
	NamePattern string `json:"namePattern"`
	Version     string `json:"version"`
}

// Status is how a plan stands.
type Status string

const (
	Running   Status = "running"
	Succeeded Status = "succeeded"
	Failed    Status = "failed"
)

// State is what was done so far. It is written, and on the disk, before a step
// begins and after it ends.
type State struct {
	Version int    `json:"version"`
	Job     string `json:"job"`
	Status  Status `json:"status"`
	// Boots is how often the runner was started by Windows.
	Boots int `json:"boots"`
	// PendingReboots is how many of the restarts were for a reboot that was pending.
	PendingReboots int `json:"pendingReboots,omitempty"`
	// Started is when it was first, by the guest's clock.
	Started time.Time `json:"started"`
	Updated time.Time `json:"updated"`
	// ElapsedSeconds is how much of the deadline was used up until Updated: the
	// guest's clock may be set meanwhile.
	ElapsedSeconds float64 `json:"elapsedSeconds,omitempty"`
	// Steps are those that were begun, in order.
	Steps []StepState `json:"steps,omitempty"`
	// Failure is why Status is Failed.
	Failure *Failure `json:"failure,omitempty"`
	// Disarmed says that Windows will not start the runner again.
	Disarmed bool `json:"disarmed,omitempty"`
}

// StepState is how a step stands.
type StepState struct {
	Name string `json:"name"`
	// Attempts is how often its program was started.
	Attempts int `json:"attempts"`
	// InFlight says that it may be running: after a restart, that nobody saw its end.
	InFlight bool `json:"inFlight,omitempty"`
	// Reboot says that it is done when Windows has started anew.
	Reboot bool `json:"reboot,omitempty"`
	Done   bool `json:"done,omitempty"`
	// Failed says that it was optional, and is not done.
	Failed bool `json:"failed,omitempty"`
	// Retries is how many of the attempts asked to be tried again.
	Retries int `json:"retries,omitempty"`
	// Detected says that Detect told so, not the program.
	Detected bool `json:"detected,omitempty"`
	// ExitCode is that of the last attempt that ended.
	ExitCode *int    `json:"exitCode,omitempty"`
	Seconds  float64 `json:"seconds,omitempty"`
	// Note is for people, such as why an optional step failed.
	Note string `json:"note,omitempty"`
}

// FailureKind is what kept a plan from succeeding.
type FailureKind string

const (
	BadPlan       FailureKind = "badPlan"
	BadHash       FailureKind = "badHash"
	ExitCode      FailureKind = "exitCode"
	TimedOut      FailureKind = "timedOut"      // a step was ended with all that it started
	NotStarted    FailureKind = "notStarted"    // Windows did not start its program
	TooManyTries  FailureKind = "tooManyTries"  // it never came to an end that was seen
	TooManyBoots  FailureKind = "tooManyBoots"  // MaxBoots
	Deadline      FailureKind = "deadline"      // DeadlineSeconds
	PendingReboot FailureKind = "pendingReboot" // still pending after MaxPendingReboots
	Internal      FailureKind = "internal"
)

// Failure is why a plan failed.
type Failure struct {
	Kind FailureKind `json:"kind"`
	Step string      `json:"step,omitempty"`
	// ExitCode is that of the step's program, for ExitCode.
	ExitCode int    `json:"exitCode,omitempty"`
	Message  string `json:"message"`
}
