package workflows

import (
	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/engine/agent"
	"imageport/job"
	"imageport/job/durable"
)

// Typed handles of the activities; nil, as only their methods' names are used.
var (
	ctl *activities.Controller
	ce  *agent.Engine
)

// Register registers the workflows of all operations under the names of the
// specification, the sweep and the batch.
func Register(r interface {
	RegisterWorkflowWithOptions(w any, options workflow.RegisterOptions)
	RegisterDynamicWorkflow(w any, options workflow.DynamicRegisterOptions)
}) {
	r.RegisterWorkflowWithOptions(ConvertToUEFI, workflow.RegisterOptions{Name: string(job.OpConvertToUEFI)})
	r.RegisterWorkflowWithOptions(ReverseImage, workflow.RegisterOptions{Name: string(job.OpReverseImage)})
	r.RegisterWorkflowWithOptions(UpgradePVS, workflow.RegisterOptions{Name: string(job.OpUpgradePVS)})
	r.RegisterWorkflowWithOptions(Sweep, workflow.RegisterOptions{Name: durable.WorkflowSweep})
	r.RegisterWorkflowWithOptions(Batch, workflow.RegisterOptions{Name: durable.WorkflowBatch})
	r.RegisterDynamicWorkflow(unknownOperation, workflow.DynamicRegisterOptions{})
}
