package workflows

import (
	"strings"
	"testing"

	"imageport/job"
	"imageport/job/durable"
)

// The job is the ledger of who has enrolled, and tells no other what it may
// have.
func TestDoor(t *testing.T) {
	const current, former = "ce-0123456789ab", "ce-ba9876543210"
	key, other := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for _, tc := range []struct {
		what     string
		phase    job.Phase
		state    job.State
		enrolled string
		rivals   bool
		ce, key  string
		refusal  string // of the enrolment, "" for none
		access   bool
	}{
		{what: "first", ce: current, key: key},
		{what: "again, the answer was lost", enrolled: key, ce: current, key: key, access: true},
		{what: "another key", enrolled: key, ce: current, key: other}, // the update refuses it
		{what: "a third key", enrolled: key, rivals: true, ce: current, key: other, refusal: "was used already, with another key"},
		{what: "rivals", enrolled: key, rivals: true, ce: current, key: key, refusal: "was used already, with another key"},
		{what: "a CE of before", enrolled: key, ce: former, key: key, refusal: "has no Compositing Engine"},
		{what: "no CE", ce: "", key: key, refusal: "has no Compositing Engine"},
		{what: "no key", ce: current, key: "", refusal: "is not the SHA-256"},
		{what: "tear-down", phase: job.PhaseTearDown, ce: current, key: key, refusal: "needs no Compositing Engine"},
		{what: "tear-down of one that has enrolled", phase: job.PhaseTearDown, enrolled: key, ce: current, key: key, refusal: "needs no Compositing Engine"},
		{what: "ended", state: job.StateFailed, ce: current, key: key, refusal: "needs no Compositing Engine"},
	} {
		j := &lifecycle{rivals: tc.rivals, enrolled: durable.Enrolment{CE: current, Key: tc.enrolled}, access: durable.Access{Credentials: []string{"smb"}}}
		j.status = job.Status{CE: current, Phase: job.PhaseEnrol, State: job.StateRunning}
		if tc.phase != "" {
			j.status.Phase = tc.phase
		}
		if tc.state != "" {
			j.status.State = tc.state
		}
		e := durable.Enrolment{CE: tc.ce, Key: tc.key}
		switch err := j.mayEnrol(e); {
		case tc.refusal == "" && err != nil, tc.refusal != "" && (err == nil || !strings.Contains(err.Error(), tc.refusal)):
			t.Errorf("%s: enrolment gives %v; want %q", tc.what, err, tc.refusal)
		}
		if a, err := j.accessOf(e); (err == nil) != tc.access || a.Has("smb") != tc.access {
			t.Errorf("%s: access is %v, %v", tc.what, a, err)
		}
	}
}
