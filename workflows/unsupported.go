package workflows

import (
	"fmt"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"imageport/job"
)

// UpgradePVS refuses: this release reads and checks the request, and does not
// perform the operation yet.
func UpgradePVS(ctx workflow.Context, body converter.RawValue) (*job.Result, error) {
	_, _, err := job.Parse[job.UpgradePVS](body.Payload().GetData())
	return unsupported(ctx, job.OpUpgradePVS, err)
}

// unknownOperation refuses what was started under any other workflow type:
// without it, a slip in --type would leave a job that runs for ever.
func unknownOperation(ctx workflow.Context, _ converter.EncodedValues) (*job.Result, error) {
	op := job.Operation(workflow.GetInfo(ctx).WorkflowType.Name)
	j, err := begin(ctx, op)
	if err != nil {
		return nil, err
	}
	return j.end(ctx, nil, job.Errorf(job.UnsupportedOperation, fmt.Sprintf("Start it with --type %s or %s", job.OpConvertToUEFI, job.OpReverseImage), "there is no operation %q", op))
}

func unsupported(ctx workflow.Context, op job.Operation, err error) (*job.Result, error) {
	j, beginErr := begin(ctx, op)
	if beginErr != nil {
		return nil, beginErr
	}
	if err == nil {
		err = job.Errorf(job.UnsupportedOperation, "Use convertToUefi or reverseImage, or wait for a release that has it", "%s is not supported yet", op)
	}
	return j.end(ctx, nil, err)
}
