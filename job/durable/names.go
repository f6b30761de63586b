package durable

import (
	"crypto/sha256"
	"encoding/hex"

	"go.temporal.io/sdk/temporal"
)

// QueryStatus is the query that every job answers with a job.Status.
const QueryStatus = "status"

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
