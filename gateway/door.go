package gateway

import (
	"context"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/proto"

	"imageport/engine/enrol"
	"imageport/job/seed"
)

const workflowService = "/temporal.api.workflowservice.v1.WorkflowService/"

// allowed are the methods that a CE with a certificate may call: its own
// renewal and credentials, and exactly what an activity worker of the Temporal
// SDK calls.
var allowed = map[string]bool{
	enrol.MethodRenew:      true,
	enrol.MethodCredential: true,

	workflowService + "GetSystemInfo":                true,
	workflowService + "DescribeNamespace":            true,
	workflowService + "PollActivityTaskQueue":        true,
	workflowService + "RecordActivityTaskHeartbeat":  true,
	workflowService + "RespondActivityTaskCompleted": true,
	workflowService + "RespondActivityTaskFailed":    true,
	workflowService + "RespondActivityTaskCanceled":  true,
	workflowService + "RecordWorkerHeartbeat":        true,
	workflowService + "ShutdownWorker":               true,
}

// door is the part of Temporal that a CE sees. Requests go on with the worker's
// namespace and the CE's name in them, whatever they say.
type door struct {
	workflowservice.UnimplementedWorkflowServiceServer
	*Gateway
	upstream workflowservice.WorkflowServiceClient
}

// GetSystemInfo passes the server's capabilities on.
func (d *door) GetSystemInfo(ctx context.Context, _ *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	return d.upstream.GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{})
}

// DescribeNamespace says that there is a namespace, and nothing about it.
func (d *door) DescribeNamespace(_ context.Context, r *workflowservice.DescribeNamespaceRequest) (*workflowservice.DescribeNamespaceResponse, error) {
	return &workflowservice.DescribeNamespaceResponse{
		NamespaceInfo: &namespace.NamespaceInfo{Name: r.GetNamespace(), State: enums.NAMESPACE_STATE_REGISTERED},
	}, nil
}

// RecordWorkerHeartbeat ends here: what a CE says of itself interests nobody.
func (d *door) RecordWorkerHeartbeat(context.Context, *workflowservice.RecordWorkerHeartbeatRequest) (*workflowservice.RecordWorkerHeartbeatResponse, error) {
	return &workflowservice.RecordWorkerHeartbeatResponse{}, nil
}

// ShutdownWorker ends here too: it could name another's queue.
func (d *door) ShutdownWorker(context.Context, *workflowservice.ShutdownWorkerRequest) (*workflowservice.ShutdownWorkerResponse, error) {
	return &workflowservice.ShutdownWorkerResponse{}, nil
}

// PollActivityTaskQueue polls the CE's own queue.
func (d *door) PollActivityTaskQueue(ctx context.Context, r *workflowservice.PollActivityTaskQueueRequest) (*workflowservice.PollActivityTaskQueueResponse, error) {
	ce := callerIn(ctx).CE
	if queue := r.GetTaskQueue().GetName(); queue != seed.Queue(ce) {
		return nil, deny("task queue %.100q is not that of %s", queue, ce)
	}
	task, err := d.upstream.PollActivityTaskQueue(ctx, &workflowservice.PollActivityTaskQueueRequest{
		Namespace: d.cfg.Namespace,
		TaskQueue: &taskqueue.TaskQueue{Name: seed.Queue(ce), Kind: enums.TASK_QUEUE_KIND_NORMAL},
		Identity:  ce,
	})
	if err != nil {
		return nil, err
	}
	if len(task.GetTaskToken()) > 0 { // otherwise there was none in time
		task.TaskToken = d.cfg.Key.sealTask(ce, task.GetTaskToken())
		task.WorkflowNamespace = "" // no business of the CE's, and its agent does not look
	}
	return task, nil
}

// task gives the caller and the task token behind the one that it shows.
func (d *door) task(ctx context.Context, sealed []byte) (ce string, token []byte, err error) {
	ce = callerIn(ctx).CE
	token, err = d.cfg.Key.openTask(ce, sealed)
	if err != nil {
		return "", nil, deny("the task token is not one that %s was given", ce)
	}
	return ce, token, nil
}

// RecordActivityTaskHeartbeat passes a heartbeat on.
func (d *door) RecordActivityTaskHeartbeat(ctx context.Context, r *workflowservice.RecordActivityTaskHeartbeatRequest) (*workflowservice.RecordActivityTaskHeartbeatResponse, error) {
	ce, token, err := d.task(ctx, r.GetTaskToken())
	if err != nil {
		return nil, err
	}
	if n := proto.Size(r.GetDetails()); n > maxHeartbeatBytes {
		return nil, deny("a heartbeat of %d bytes, the limit is %d", n, maxHeartbeatBytes)
	}
	return d.upstream.RecordActivityTaskHeartbeat(ctx, &workflowservice.RecordActivityTaskHeartbeatRequest{
		Namespace: d.cfg.Namespace, Identity: ce, TaskToken: token, Details: r.GetDetails(),
	})
}

// RespondActivityTaskCompleted passes a result on.
func (d *door) RespondActivityTaskCompleted(ctx context.Context, r *workflowservice.RespondActivityTaskCompletedRequest) (*workflowservice.RespondActivityTaskCompletedResponse, error) {
	ce, token, err := d.task(ctx, r.GetTaskToken())
	if err != nil {
		return nil, err
	}
	return d.upstream.RespondActivityTaskCompleted(ctx, &workflowservice.RespondActivityTaskCompletedRequest{
		Namespace: d.cfg.Namespace, Identity: ce, TaskToken: token, Result: r.GetResult(),
	})
}

// RespondActivityTaskFailed passes a failure on.
func (d *door) RespondActivityTaskFailed(ctx context.Context, r *workflowservice.RespondActivityTaskFailedRequest) (*workflowservice.RespondActivityTaskFailedResponse, error) {
	ce, token, err := d.task(ctx, r.GetTaskToken())
	if err != nil {
		return nil, err
	}
	return d.upstream.RespondActivityTaskFailed(ctx, &workflowservice.RespondActivityTaskFailedRequest{
		Namespace: d.cfg.Namespace, Identity: ce, TaskToken: token, Failure: r.GetFailure(), LastHeartbeatDetails: r.GetLastHeartbeatDetails(),
	})
}

// RespondActivityTaskCanceled passes a cancellation on.
func (d *door) RespondActivityTaskCanceled(ctx context.Context, r *workflowservice.RespondActivityTaskCanceledRequest) (*workflowservice.RespondActivityTaskCanceledResponse, error) {
	ce, token, err := d.task(ctx, r.GetTaskToken())
	if err != nil {
		return nil, err
	}
	return d.upstream.RespondActivityTaskCanceled(ctx, &workflowservice.RespondActivityTaskCanceledRequest{
		Namespace: d.cfg.Namespace, Identity: ce, TaskToken: token, Details: r.GetDetails(),
	})
}
