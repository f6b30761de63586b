package workflows

import (
	"fmt"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"imageport/job"
)

// unknownOperation refuses what was started under any other workflow type:
// without it, a slip in --type would leave a job that runs for ever.
func unknownOperation(ctx workflow.Context, _ converter.EncodedValues) (*job.Result, error) {
	op := job.Operation(workflow.GetInfo(ctx).WorkflowType.Name)
	return perform(ctx, op, func(*lifecycle) (*job.Result, error) {
		return nil, job.Errorf(job.UnsupportedOperation, fmt.Sprintf("Start it with --type %s, %s or %s", job.OpConvertToUEFI, job.OpReverseImage, job.OpUpgradePVS), "there is no operation %q", op)
	})
}
