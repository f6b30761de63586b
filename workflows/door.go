package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"imageport/job"
	"imageport/job/durable"
)

// openDoor lets the gateway ask the job about its CEs: the job is the ledger of
// which key has enrolled, and knows which secrets it needs.
func (j *lifecycle) openDoor(ctx workflow.Context) error {
	enrol := func(_ workflow.Context, e durable.Enrolment) error {
		if j.enrolled.Key != "" && j.enrolled.Key != e.Key {
			j.rivals = true // in the history, as somebody has to hear of it
			return temporal.NewApplicationError(usedTwice(e.CE).Error(), string(job.CELost))
		}
		j.enrolled = e
		return nil
	}
	err := workflow.SetUpdateHandlerWithOptions(ctx, durable.UpdateEnrol, enrol, workflow.UpdateHandlerOptions{
		Description: "A Compositing Engine has come (sent by the gateway)",
		Validator:   func(_ workflow.Context, e durable.Enrolment) error { return j.mayEnrol(e) },
	})
	if err != nil {
		return err
	}
	return workflow.SetQueryHandlerWithOptions(ctx, durable.QueryAccess, j.accessOf,
		workflow.QueryHandlerOptions{Description: "What an enrolled Compositing Engine may have (asked by the gateway)"})
}

// employs says why the job has nothing for a CE of that name.
func (j *lifecycle) employs(ce string) error {
	switch {
	case ce == "" || ce != j.status.CE:
		return fmt.Errorf("the job has no Compositing Engine %.100q", ce)
	case j.status.State != job.StateRunning || j.status.Phase == job.PhaseTearDown:
		return fmt.Errorf("the job needs no Compositing Engine any more")
	}
	return nil
}

// mayEnrol says why a CE must not enrol. The same key may again: the answer may
// have been lost on the way. A second key is refused by the update itself.
func (j *lifecycle) mayEnrol(e durable.Enrolment) error {
	if err := j.employs(e.CE); err != nil {
		return err
	}
	switch {
	case len(e.Key) != 64:
		return fmt.Errorf("%.100q is not the SHA-256 of a key", e.Key)
	case j.rivals: // once is enough
		return usedTwice(e.CE)
	}
	return nil
}

// usedTwice says that a token was shown with two keys. Which of them is the
// CE's nobody knows: whoever can read its seed may have been quicker.
func usedTwice(ce string) error {
	return fmt.Errorf("the token of %s was used already, with another key", ce)
}

// accessOf gives a CE that has enrolled with this key what it may have, for as
// long as the job needs it: tear-down may take a while.
func (j *lifecycle) accessOf(e durable.Enrolment) (durable.Access, error) {
	if err := j.employs(e.CE); err != nil {
		return durable.Access{}, err
	}
	if j.rivals {
		return durable.Access{}, usedTwice(e.CE)
	}
	if e.Key == "" || e.Key != j.enrolled.Key {
		return durable.Access{}, fmt.Errorf("%s has not enrolled with this key", e.CE)
	}
	return j.access, nil
}
