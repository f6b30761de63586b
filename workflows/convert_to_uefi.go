package workflows

import (
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/engine/convert"
	"imageport/job"
	"imageport/job/durable"
)

// ConvertToUEFI makes a GPT/UEFI differencing disk beside a BIOS/MBR vDisk.
// Its input is the specification's JSON ("Convert to UEFI"), taken raw so that
// a body that cannot be read is refused with a code instead of a decoding
// failure. Failure types are the codes of package job.
func ConvertToUEFI(ctx workflow.Context, body converter.RawValue) (*job.Result, error) {
	return perform(ctx, job.OpConvertToUEFI, func(j *lifecycle) (*job.Result, error) {
		req, warnings, err := job.Parse[job.ConvertToUEFI](body.Payload().GetData())
		if err != nil {
			return nil, err
		}
		outputID, err := req.OutputID()
		if err != nil {
			return nil, err
		}
		if err := j.admit(ctx, &req.Request, req.OutputPath(), outputID, warnings); err != nil {
			return nil, err
		}
		c := &convertToUEFI{lifecycle: j, req: req, task: convert.Task{
			Job:        j.status.JobID,
			Key:        j.key,
			Storage:    req.InputStorageLocation,
			Input:      req.InputFile(),
			Output:     req.OutputFile(),
			Format:     req.InputImageFormat,
			Overwrite:  req.OverwriteOutput,
			IgnoreLock: req.IgnoreLock,
			Options:    req.UEFIOptions,
		}}
		return c.run(ctx)
	})
}

// convertToUEFI is one job: what it is to do, and how far it has come.
type convertToUEFI struct {
	*lifecycle
	req      job.ConvertToUEFI
	task     convert.Task
	admitted convert.Admitted
	composed *convert.Composed
	boot     *job.BootProof
}

func (c *convertToUEFI) run(ctx workflow.Context) (*job.Result, error) {
	if err := c.preflight(ctx); err != nil {
		return nil, orCanceled(ctx, err) // nothing was made yet
	}
	if c.req.DryRun {
		preview := c.admitted.Preview
		preview.Warnings = c.status.Warnings // also those of the request
		return &preview, nil
	}
	if err := c.tearDown(ctx, c.onCE(ctx, c.make), c.finish); err != nil {
		return nil, err
	}
	result := c.composed.Result
	result.Boot = c.boot
	result.Warnings = c.status.Warnings
	result.CompositingEngines = c.ces
	return &result, nil
}

// make writes the output, and gives it its name.
func (c *convertToUEFI) make(ctx workflow.Context, queue string) error {
	if err := c.compose(ctx, queue); err != nil {
		return err
	}
	if err := c.proveBoot(ctx); err != nil {
		return err
	}
	return c.publish(ctx, queue)
}

func (c *convertToUEFI) preflight(ctx workflow.Context) error {
	in := activities.PreflightInput{Target: c.target, Task: c.task, Verify: c.req.Verify}
	if err := workflow.ExecuteActivity(checking(ctx, "check "+c.task.Input), ctl.Preflight, in).Get(ctx, &c.admitted); err != nil {
		return err
	}
	c.warn(c.admitted.Preview.Warnings...)
	if c.task.Output != "" {
		return nil
	}
	// The files on the share have named the output.
	c.task.Output, c.status.Output = c.admitted.Approval.Output, c.admitted.Preview.Output
	id, err := c.task.Storage.FileID(c.task.Output)
	if err != nil {
		return err
	}
	return workflow.UpsertTypedSearchAttributes(ctx, durable.AttrOutput.ValueSet(durable.Keyword(id)))
}

// compose writes the output under a partial name, unless an earlier CE has.
func (c *convertToUEFI) compose(ctx workflow.Context, queue string) error {
	if c.composed != nil {
		return nil
	}
	if err := c.enter(ctx, job.PhaseCompose); err != nil {
		return err
	}
	var composed convert.Composed
	err := workflow.ExecuteActivity(composing(ctx, queue, "compose "+c.task.Output), ce.Compose, c.task, c.admitted.Approval).Get(ctx, &composed)
	if err == nil {
		c.composed = &composed
	}
	return err
}

// files are what was composed, without the result, which is too long to be
// recorded with every activity.
func (c *convertToUEFI) files() *convert.Composed {
	if c.composed == nil {
		return nil
	}
	return &convert.Composed{Pieces: c.composed.Pieces}
}

// proveBoot has firmware start the output, where the request asks for it.
func (c *convertToUEFI) proveBoot(ctx workflow.Context) error {
	if c.req.Verify != job.VerifyBoot || c.boot != nil {
		return nil
	}
	if err := c.enter(ctx, job.PhaseVerify); err != nil {
		return err
	}
	var proof job.BootProof
	in := activities.ProveBootInput{Task: c.task, Composed: *c.files()}
	err := workflow.ExecuteActivity(proving(ctx, "boot "+c.task.Output), ctl.ProveBoot, in).Get(ctx, &proof)
	if err == nil {
		c.boot = &proof
	}
	return err
}

// publish gives the output its name.
func (c *convertToUEFI) publish(ctx workflow.Context, queue string) error {
	if err := c.enter(ctx, job.PhasePublish); err != nil {
		return err
	}
	return workflow.ExecuteActivity(composing(ctx, queue, "publish "+c.task.Output), ce.Publish, c.task, c.admitted.Approval, *c.files()).Get(ctx, nil)
}

// finish keeps or takes back what the job made on the share.
func (c *convertToUEFI) finish(ctx workflow.Context, keep bool) error {
	summary := "keep " + c.task.Output
	if !keep {
		summary = "remove what the job made"
	}
	in := activities.FinishInput{Task: c.task, Approval: c.admitted.Approval, Composed: c.files(), Keep: keep}
	return workflow.ExecuteActivity(cleaning(ctx, summary), ctl.Finish, in).Get(ctx, nil)
}
