package gateway_test

import (
	"strings"
	"testing"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/failure/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
)

// Temporal ends a job, without a chance to clean up, that schedules an activity
// with too big an input. What a CE says goes into one, and grows sixfold on the
// way when JSON has to escape it.
func TestBigResult(t *testing.T) {
	l := newLocation(t, nil)
	run, s := l.start("win10")
	c, _ := l.temporal(l.enrolled(s))
	task, err := poll(t.Context(), c, seed.Queue(s.Name))
	if err != nil || task.GetActivityType().GetName() != "Compose" {
		t.Fatalf("got %v, %v", task, err)
	}
	result := func(size int) error {
		_, err := c.RespondActivityTaskCompleted(t.Context(), &workflowservice.RespondActivityTaskCompletedRequest{TaskToken: task.TaskToken,
			Result: &common.Payloads{Payloads: []*common.Payload{{Metadata: map[string][]byte{"encoding": []byte("json/plain")},
				Data: []byte(`{"pieces":[{"partial":"` + strings.Repeat("<", size) + `"}]}`)}}}})
		return err
	}
	if err := result(256 << 10); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("too big: %v", err)
	}
	if err := result(255 << 10); err != nil {
		t.Error(err)
	}
	publish, err := poll(t.Context(), c, seed.Queue(s.Name))
	if err != nil || publish.GetActivityType().GetName() != "Publish" {
		d, _ := l.client.DescribeWorkflowExecution(t.Context(), run.GetID(), run.GetRunID())
		t.Fatalf("the job goes on with %v, %v; it is %v", publish.GetActivityType(), err, d.GetWorkflowExecutionInfo().GetStatus())
	}
}

// The same for a failure, which the job repeats as its own.
func TestBigFailure(t *testing.T) {
	l := newLocation(t, nil)
	run, s := l.start("win10")
	c, _ := l.temporal(l.enrolled(s))
	task, err := poll(t.Context(), c, seed.Queue(s.Name))
	if err != nil || len(task.GetTaskToken()) == 0 {
		t.Fatalf("no task: %v", err)
	}
	details := &common.Payloads{Payloads: []*common.Payload{{Metadata: map[string][]byte{"encoding": []byte("json/plain")},
		Data: []byte(`{"code":"VERIFY_FAILED","message":"` + strings.Repeat("<", 250<<10) + `"}`)}}}
	_, err = c.RespondActivityTaskFailed(t.Context(), &workflowservice.RespondActivityTaskFailedRequest{TaskToken: task.TaskToken,
		Failure: &failure.Failure{Message: "no", FailureInfo: &failure.Failure_ApplicationFailureInfo{
			ApplicationFailureInfo: &failure.ApplicationFailureInfo{Type: string(job.VerifyFailed), NonRetryable: true, Details: details}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Get(t.Context(), nil); durable.FromFailure(err).Code != job.VerifyFailed {
		t.Errorf("the job: %.200v", err)
	}
}
