package job

import (
	"slices"
	"time"
)

// BatchReport is how a batch stands and, when it has ended, what became of every
// image.
type BatchReport struct {
	BatchID          string    `json:"batchId"`
	RunID            string    `json:"runId"`
	Operation        Operation `json:"operation"`
	ResourceLocation string    `json:"resourceLocation,omitempty"`
	// State is completed when all of it was seen to, whether or not jobs have
	// failed.
	State   State       `json:"state"`
	DryRun  bool        `json:"dryRun,omitempty"`
	Started time.Time   `json:"started"`
	Ended   *time.Time  `json:"ended,omitempty"`
	Counts  BatchCounts `json:"counts"`
	// Stopped says that a job has failed, and that the others were not begun.
	Stopped  bool        `json:"stopped,omitempty"`
	Items    []BatchItem `json:"items"`
	Warnings []string    `json:"warnings,omitempty"`
	// Error is why the batch itself has failed.
	Error *Error `json:"error,omitempty"`
}

// BatchCounts is how many images are in which state. Terminated jobs count as
// failed.
type BatchCounts struct {
	Total     int `json:"total"`
	Pending   int `json:"pending,omitempty"`
	Waiting   int `json:"waiting,omitempty"`
	Running   int `json:"running,omitempty"`
	Completed int `json:"completed,omitempty"`
	There     int `json:"there,omitempty"`
	Failed    int `json:"failed,omitempty"`
	Canceled  int `json:"canceled,omitempty"`
	Left      int `json:"left,omitempty"`
}

// Done is how many images nothing more happens to.
func (c BatchCounts) Done() int { return c.Total - c.Pending - c.Waiting - c.Running }

// ItemState is how an image of a batch stands.
type ItemState string

// The states of an image in a batch.
const (
	ItemPending    ItemState = "pending" // not begun yet
	ItemWaiting    ItemState = "waiting" // for a job on the image that is not the batch's
	ItemRunning    ItemState = "running"
	ItemCompleted  ItemState = "completed"
	ItemThere      ItemState = "there" // its output was there already
	ItemFailed     ItemState = "failed"
	ItemCanceled   ItemState = "canceled"
	ItemTerminated ItemState = "terminated" // ended from outside, without clean-up
	ItemLeft       ItemState = "left"       // not begun when the batch ended
)

// BatchItem is one image of a batch.
type BatchItem struct {
	Image  string    `json:"image"`            // UNC path
	Output string    `json:"output,omitempty"` // UNC path, or name of a disk
	JobID  string    `json:"jobId"`
	RunID  string    `json:"runId,omitempty"` // of the job, "" if there was none
	State  ItemState `json:"state"`
	// Phase and Progress are those of a running job; only who asks for the report
	// over package starter gets them.
	Phase    Phase      `json:"phase,omitempty"`
	Progress *Progress  `json:"progress,omitempty"`
	Started  *time.Time `json:"started,omitempty"`
	Ended    *time.Time `json:"ended,omitempty"`
	// Tries is how often the image was found to have another job, which is looked
	// for again at NextTry.
	Tries   int        `json:"tries,omitempty"`
	NextTry *time.Time `json:"nextTry,omitempty"`
	// Note says why the image is in its state, where that is no failure.
	Note   string       `json:"note,omitempty"`
	Error  *Error       `json:"error,omitempty"`
	Result *BatchResult `json:"result,omitempty"`
}

// BatchResult is what matters most of a job's Result. The job itself has all.
type BatchResult struct {
	SizeBytes          int64        `json:"sizeBytes,omitempty"`
	VirtualSizeBytes   int64        `json:"virtualSizeBytes,omitempty"`
	ChangedBytes       int64        `json:"changedBytes,omitempty"`
	SHA256             string       `json:"sha256,omitempty"`
	ESPPlacement       ESPPlacement `json:"espPlacement,omitempty"`
	WindowsProduct     string       `json:"windowsProduct,omitempty"`
	PVSTarget          string       `json:"pvsTarget,omitempty"`
	CompositingEngines int          `json:"compositingEngines,omitempty"`
	Warnings           []string     `json:"warnings,omitempty"`
}

// What a report keeps of texts: with MaxBatchImages it fits into an answer of
// Temporal.
const (
	maxItemText     = 300 // bytes
	maxItemWarnings = 3
)

// Count brings the counts up to date.
func (r *BatchReport) Count() {
	c := BatchCounts{Total: len(r.Items)}
	for _, item := range r.Items {
		switch item.State {
		case ItemPending:
			c.Pending++
		case ItemWaiting:
			c.Waiting++
		case ItemRunning:
			c.Running++
		case ItemCompleted:
			c.Completed++
		case ItemThere:
			c.There++
		case ItemFailed, ItemTerminated:
			c.Failed++
		case ItemCanceled:
			c.Canceled++
		case ItemLeft:
			c.Left++
		}
	}
	r.Counts = c
}

// Fail gives the item an error, in the length that a report has room for.
func (i *BatchItem) Fail(state ItemState, e *Error) {
	i.State = state
	i.Error = &Error{Code: e.Code, Message: shorten(e.Message, maxItemText), Remedy: shorten(e.Remedy, maxItemText)}
}

// There marks the item as one that there is nothing to do for, and says why.
func (i *BatchItem) There(why string) { i.State, i.Note = ItemThere, shorten(why, maxItemText) }

// Complete gives the item what its job has made.
func (i *BatchItem) Complete(res *Result) {
	i.State = ItemCompleted
	if res.Output != "" {
		i.Output = res.Output
	}
	i.Result = &BatchResult{
		SizeBytes: res.SizeBytes, VirtualSizeBytes: res.VirtualSizeBytes, ChangedBytes: res.ChangedBytes, SHA256: res.SHA256,
		ESPPlacement: res.ESPPlacement, WindowsProduct: res.WindowsProduct, PVSTarget: res.PVSTarget, CompositingEngines: res.CompositingEngines,
	}
	for _, w := range res.Warnings[:min(len(res.Warnings), maxItemWarnings)] {
		i.Result.Warnings = append(i.Result.Warnings, shorten(w, maxItemText))
	}
}

// Clone is a copy that the original does not share what changes with.
func (r *BatchReport) Clone() BatchReport {
	c := *r
	c.Items = slices.Clone(r.Items)
	c.Warnings = slices.Clone(r.Warnings)
	return c
}
