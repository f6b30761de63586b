package durable

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"go.temporal.io/sdk/temporal"
)

// QueryStatus is the query that every job answers with a job.Status.
const QueryStatus = "status"

// QueryLogs is the query that every job answers with job.Logs: what was handed
// over so far.
const QueryLogs = "logs"

// UpdateEnrol is the update with which the gateway tells a job that a
// Compositing Engine (CE) has come, with an Enrolment. The job accepts one key
// for the CE that it has made last, and no other.
const UpdateEnrol = "enrol"

// QueryAccess is the query with which the gateway asks what an enrolled CE may
// have. It takes an Enrolment, answers with an Access, and fails for what has
// not enrolled.
const QueryAccess = "access"

// ActivityWatch is the name of the activity that watches a CE. It is tried again
// whenever a worker stops, which is no trouble.
const ActivityWatch = "WatchCE"

// Enrolment is a CE by its name and the fingerprint of its key.
type Enrolment struct {
	CE       string `json:"ce"`
	Key      string `json:"key"`                // SHA-256 of the public key, in hexadecimal
	Protocol int    `json:"protocol,omitempty"` // that it speaks with the workflow
}

// Access is what a job's CE may have.
type Access struct {
	Credentials []string `json:"credentials"` // ids of those of the shares
}

// Has reports whether the CE may have the credential with that id.
func (a Access) Has(id string) bool { return slices.Contains(a.Credentials, id) }

// Search attributes of a job, all of type Keyword. They must be known to the
// namespace before the first job runs; a worker registers them when it starts.
var (
	AttrOperation = temporal.NewSearchAttributeKeyKeyword("ImageportOperation")
	AttrPlatform  = temporal.NewSearchAttributeKeyKeyword("ImageportPlatform")
	AttrImage     = temporal.NewSearchAttributeKeyKeyword("ImageportImage")  // job.Request.WorkflowID
	AttrOutput    = temporal.NewSearchAttributeKeyKeyword("ImageportOutput") // job.ConvertToUEFI.OutputID
	AttrPhase     = temporal.NewSearchAttributeKeyKeyword("ImageportPhase")
)

// SearchAttributes lists the names of all search attributes.
func SearchAttributes() []string {
	return []string{AttrOperation.GetName(), AttrPlatform.GetName(), AttrImage.GetName(), AttrOutput.GetName(), AttrPhase.GetName()}
}

// JobKey is a short name of a job for files, CEs and queues: 12 hexadecimal
// digits. It is made from the original run id, which survives a Reset; run ids
// themselves are time-ordered and share prefixes.
func JobKey(originalRunID string) string {
	sum := sha256.Sum256([]byte(originalRunID))
	return hex.EncodeToString(sum[:6])
}

// Keyword gives the value under which an id is kept as a search attribute:
// itself, or where it is longer than the 255 characters that SQL visibility
// has for one, its beginning and a hash.
func Keyword(id string) string {
	const limit = 255
	if len(id) <= limit {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	hash := "~" + hex.EncodeToString(sum[:8])
	return id[:limit-len(hash)] + hash
}

// WorkflowSweep is the workflow that removes what jobs have left behind. It takes
// a job.SweepRequest, and runs on the queue of the resource location.
const WorkflowSweep = "sweep"

// SweepSchedule is the id of the schedule of a resource location's sweeps.
func SweepSchedule(resourceLocation string) string { return WorkflowSweep + "/" + resourceLocation }

// SweepNow is the id of a resource location's sweep that was asked for by hand.
func SweepNow(resourceLocation string) string { return SweepSchedule(resourceLocation) + "/now" }
