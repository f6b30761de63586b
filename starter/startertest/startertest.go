// Package startertest stands in for a resource-location worker in tests of
// what is built on package starter. Its convertToUefi jobs show the same
// status, search attributes, heartbeats and failures as real ones, touch no
// share, and end as the name of their output says.
package startertest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"imageport/job"
	"imageport/job/durable"
)

// How a job ends, by the outputImageFilename of its request.
const (
	Completes = "completes"
	Fails     = "fails"   // with job.AlreadyGPT
	Flaky     = "flaky"   // never gets over a share that does not answer
	Works     = "works"   // heartbeats until it is cancelled
	CleansUp  = "cleanup" // as Works, and takes its time to be canceled
)

// CELog is what the Compositing Engine of a job that has ended has logged.
const CELog = "level=INFO msg=enrolled\nlevel=WARN msg=\"has failed\" password=hunter2\n"

// Size is the number of bytes that Works has to do; it has done half of them.
const Size = 1 << 30

// Body gives a request for resource location queue on an image, that ends so.
func Body(queue, image, ends string) []byte {
	return fmt.Appendf(nil, `{
  "platform": "local",
  "resourceLocationId": %q,
  "inputStorageLocation": {"type": "SMB", "credentialId": "files", "host": "Files.example.com", "sharePath": "PVS/Store"},
  "inputImageFilename": %q,
  "inputImageFormat": "VhdxDiskFormat",
  "outputImageFilename": %q
}`, queue, image, ends)
}

// BatchBody gives a request for a batch of that name on images, each of which ends
// so.
func BatchBody(queue, name, ends string, images ...string) []byte {
	list := make([]string, len(images))
	for i, image := range images {
		list[i] = fmt.Sprintf(`{"inputImageFilename": %q, "outputImageFilename": %q, "inputStorageLocation": {"credentialId": "files", "host": "Files.example.com", "sharePath": "PVS/Store/%d"}}`, image, ends, i)
	}
	return fmt.Appendf(nil, `{
  "name": %q,
  "operation": "convertToUefi",
  "images": [%s],
  "template": {
    "platform": "local",
    "resourceLocationId": %q,
    "inputStorageLocation": {"credentialId": "files", "host": "Files.example.com", "sharePath": "PVS/Store"}
  }
}`, name, strings.Join(list, ", "), queue)
}

// Serve runs a worker on the queue, and returns when it polls. It ends when
// stop is called, or with the test. more registers what else it runs.
func Serve(t testing.TB, c client.Client, queue string, more ...func(worker.Registry)) (stop func()) {
	t.Helper()
	w := worker.New(c, queue, worker.Options{
		Interceptors:                 []interceptor.WorkerInterceptor{&durable.Interceptor{}},
		MaxHeartbeatThrottleInterval: 200 * time.Millisecond,
		WorkflowPanicPolicy:          worker.FailWorkflow,
	})
	w.RegisterWorkflowWithOptions(convertToUEFI, workflow.RegisterOptions{Name: string(job.OpConvertToUEFI)})
	w.RegisterActivityWithOptions(work, activity.RegisterOptions{Name: "Compose"})
	for _, register := range more {
		register(w)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		d, err := c.DescribeTaskQueue(t.Context(), queue, enums.TASK_QUEUE_TYPE_WORKFLOW)
		if err == nil && len(d.GetPollers()) > 0 {
			break
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("the worker does not poll %s: %v", queue, err)
		}
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			w.Stop()
		}
	}
	t.Cleanup(stop)
	return stop
}

func convertToUEFI(ctx workflow.Context, body converter.RawValue) (*job.Result, error) {
	req, warnings, err := job.Parse[job.ConvertToUEFI](body.Payload().GetData())
	if err != nil {
		return nil, durable.Failure(err)
	}
	folder, err := req.InputStorageLocation.Folder()
	if err != nil {
		return nil, err
	}
	image, err := req.WorkflowID()
	if err != nil {
		return nil, err
	}
	output, err := req.OutputID()
	if err != nil {
		return nil, err
	}
	info := workflow.GetInfo(ctx)
	status := job.Status{
		JobID: info.WorkflowExecution.ID, RunID: info.WorkflowExecution.RunID,
		Operation: job.OpConvertToUEFI, Platform: req.Platform, State: job.StateRunning, Phase: job.PhasePreflight,
		Image: folder.UNC(req.InputFile()), Output: folder.UNC(req.OutputFile()),
		CE: "ce-0123456789ab", Started: workflow.Now(ctx), Warnings: warnings,
	}
	err = workflow.SetQueryHandler(ctx, durable.QueryStatus, func() (job.Status, error) { return status, nil })
	if err != nil {
		return nil, err
	}
	err = workflow.SetQueryHandler(ctx, durable.QueryLogs, func() (job.Logs, error) {
		logs := job.Logs{JobID: status.JobID, RunID: status.RunID}
		if status.State != job.StateRunning {
			logs.Add(job.Log{Source: job.LogCE, Name: status.CE, At: status.Started, Text: CELog})
		}
		return logs, nil
	})
	if err != nil {
		return nil, err
	}
	err = workflow.UpsertTypedSearchAttributes(ctx, durable.AttrOperation.ValueSet(string(status.Operation)),
		durable.AttrPlatform.ValueSet(req.Platform), durable.AttrImage.ValueSet(image), durable.AttrOutput.ValueSet(output),
		durable.AttrPhase.ValueSet(string(job.PhaseCompose)))
	if err != nil {
		return nil, err
	}
	status.Phase = job.PhaseCompose
	actx := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Hour,
		HeartbeatTimeout:    10 * time.Second,
		WaitForCancellation: true,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, BackoffCoefficient: 1},
	})
	err = workflow.ExecuteActivity(actx, "Compose", req.OutputImageFilename).Get(ctx, nil)
	if err != nil && ctx.Err() != nil { // whatever the activity came to
		err = ctx.Err()
		if req.OutputImageFilename == CleansUp {
			dctx, cancel := workflow.NewDisconnectedContext(ctx)
			defer cancel()
			_ = workflow.Sleep(dctx, 2*time.Second)
		}
		status.State = job.StateCanceled
		return nil, err
	}
	if err != nil {
		status.State, status.Error = job.StateFailed, durable.FromFailure(err)
		return nil, durable.Failure(status.Error)
	}
	status.State, status.Phase = job.StateCompleted, job.PhaseDone
	return &job.Result{
		Output: status.Output, OutputFile: req.OutputFile(), SizeBytes: 7 << 20, ChangedBytes: 5 << 20,
		VirtualSizeBytes: 40 << 30, SHA256: strings.Repeat("ab", 32), WindowsProduct: "Windows 10 Pro", WindowsBuild: 19045,
		ESPPlacement: "gap", CompositingEngines: 1, Warnings: warnings,
	}, nil
}

func work(ctx context.Context, ends string) error {
	switch ends {
	case Completes:
		return nil
	case Fails:
		return job.Errorf(job.AlreadyGPT, "Use the image as it is", "the image has a GPT already")
	case Flaky:
		return job.Errorf(job.ShareUnreachable, "", "files.example.com does not answer")
	}
	durable.Report(ctx, job.Progress{Step: "write", DoneBytes: Size / 2, TotalBytes: Size})
	<-ctx.Done()
	return ctx.Err()
}
