package activities

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"

	"imageport/engine/bootproof"
	"imageport/engine/convert"
	"imageport/engine/share"
	"imageport/engine/upgrade"
	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
	"imageport/platforms"
)

// Controller holds what the activities of one resource-location worker need.
type Controller struct {
	// Owner is the resource location: the mark on CEs that are ours.
	Owner     string
	Platforms platforms.Registry
	// Catalogue is where installers are; the zero value is nowhere.
	Catalogue upgrade.Catalogue
	// Dial opens the folder of a storage location with its credential.
	Dial func(ctx context.Context, where job.StorageLocation) (share.Store, error)
	// Invite gives what a CE on the platform needs to enrol for a job, within
	// EnrolWithin from now.
	Invite func(driver platforms.Driver, ce, job string, within time.Duration) (seed.Gateway, error)
	// EnrolWithin is how long a CE may take from its creation until it reports.
	EnrolWithin time.Duration
	// CELifetime is after how long a CE ends by itself.
	CELifetime time.Duration
}

// PreflightInput asks whether a conversion may go ahead.
type PreflightInput struct {
	job.Target
	Task convert.Task `json:"task"`
	// Verify is the request's.
	Verify string `json:"verify,omitempty"`
}

// What a process does of one kind at a time: a preflight holds registry hives in
// memory, a boot proof takes a core and a GiB of memory.
var (
	preflights = make(chan struct{}, 16)
	boots      = make(chan struct{}, 1)
)

// turn waits until there is room for one more of a kind.
func turn(ctx context.Context, kind chan struct{}, step string) (release func(), err error) {
	durable.Report(ctx, job.Progress{Step: step})
	select {
	case kind <- struct{}{}:
		durable.Report(ctx, job.Progress{Step: activity.GetInfo(ctx).ActivityType.Name})
		return func() { <-kind }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Preflight refuses everything that can be refused before a CE exists: it
// dials the share, inspects and plans on the image, and looks for the output,
// other jobs that write it, and the platform. It changes nothing.
func (c *Controller) Preflight(ctx context.Context, in PreflightInput) (convert.Admitted, error) {
	driver, err := c.Platforms.Driver(ctx, in.Target)
	if err != nil {
		return convert.Admitted{}, err
	}
	if in.Verify == job.VerifyBoot {
		if err := bootproof.Available(); err != nil {
			return convert.Admitted{}, err
		}
	}
	if err := c.refuseOtherWritersOf(ctx, in.Task.Storage, in.Task.Output); err != nil {
		return convert.Admitted{}, err
	}
	release, err := turn(ctx, preflights, "wait for the checks of other jobs")
	if err != nil {
		return convert.Admitted{}, err
	}
	defer release()
	store, err := c.Dial(ctx, in.Task.Storage)
	if err != nil {
		return convert.Admitted{}, err
	}
	defer store.Close()
	admitted, err := convert.Preflight(ctx, store, in.Task)
	if err != nil {
		return convert.Admitted{}, err
	}
	if in.Task.Output == "" { // the files have named it
		if err := c.refuseOtherWritersOf(ctx, in.Task.Storage, admitted.Approval.Output); err != nil {
			return convert.Admitted{}, err
		}
	}
	return admitted, c.checkCE(ctx, driver, CreateCEInput{Target: in.Target, Name: seed.Name(in.Task.Key), Job: in.Task.Job})
}

// checkCE asks the platform whether it would make the CE.
func (c *Controller) checkCE(ctx context.Context, driver platforms.Driver, in CreateCEInput) error {
	spec, err := c.spec(ctx, driver, in)
	if err != nil {
		return err
	}
	if err := driver.Check(ctx, spec); err != nil {
		return platforms.JobError(in.Platform, err)
	}
	return nil
}

// ProveBootInput names the output that firmware is to start.
type ProveBootInput struct {
	Task     convert.Task     `json:"task"`
	Composed convert.Composed `json:"composed"`
}

// ProveBoot starts the composed output's own boot manager under UEFI firmware,
// from the share and without writing to it.
func (c *Controller) ProveBoot(ctx context.Context, in ProveBootInput) (job.BootProof, error) {
	release, err := turn(ctx, boots, "wait for another boot proof")
	if err != nil {
		return job.BootProof{}, err
	}
	defer release()
	store, err := c.Dial(ctx, in.Task.Storage)
	if err != nil {
		return job.BootProof{}, err
	}
	defer store.Close()
	return convert.ProveBoot(ctx, store, in.Composed, func(p job.Progress) { durable.Report(ctx, p) })
}

// CreateCEInput orders a Compositing Engine.
type CreateCEInput struct {
	job.Target
	Name  string `json:"name"`
	Job   string `json:"job"`   // workflow id
	RunID string `json:"runId"` // original run id
}

// CE is a Compositing Engine that was switched on.
type CE struct {
	Ref string `json:"ref"` // what the platform calls it
	// EnrolWithin is how long it may take until its agent reports.
	EnrolWithin time.Duration `json:"enrolWithin"`
}

// CreateCE makes the Compositing Engine, or finds the one that an earlier
// attempt has made.
func (c *Controller) CreateCE(ctx context.Context, in CreateCEInput) (CE, error) {
	driver, err := c.Platforms.Driver(ctx, in.Target)
	if err != nil {
		return CE{}, err
	}
	spec, err := c.spec(ctx, driver, in)
	if err != nil {
		return CE{}, err
	}
	made, err := driver.Create(ctx, spec)
	if err != nil {
		return CE{}, platforms.JobError(in.Platform, err)
	}
	activity.GetLogger(ctx).Info("Compositing Engine is on", "ce", in.Name, "ref", made.Ref)
	return CE{Ref: made.Ref, EnrolWithin: c.EnrolWithin}, nil
}

func (c *Controller) spec(ctx context.Context, driver platforms.Driver, in CreateCEInput) (platforms.Spec, error) {
	gateway, err := c.Invite(driver, in.Name, in.Job, c.EnrolWithin)
	if err != nil {
		return platforms.Spec{}, err
	}
	return platforms.Spec{
		Name:  in.Name,
		Job:   in.Job,
		RunID: in.RunID,
		Owner: c.Owner,
		Seed: seed.Seed{
			Name:     in.Name,
			Deadline: activity.GetInfo(ctx).ScheduledTime.Add(c.CELifetime),
			Gateway:  gateway,
			Network:  in.CENetwork,
		},
	}, nil
}

// DestroyCEInput names a Compositing Engine to remove.
type DestroyCEInput struct {
	job.Target
	Name string `json:"name"`
}

// DestroyCE removes a Compositing Engine and all that belongs to it. One that
// is not there is destroyed already. Every failure is retried.
func (c *Controller) DestroyCE(ctx context.Context, in DestroyCEInput) error {
	driver, err := c.Platforms.Driver(ctx, in.Target)
	if err != nil {
		return durable.Retried(err)
	}
	if err := driver.Destroy(ctx, in.Name); err != nil {
		return durable.Retried(platforms.JobError(in.Platform, err))
	}
	return nil
}

// StopCEInput names a Compositing Engine to switch off.
type StopCEInput = DestroyCEInput

// StopCE switches a Compositing Engine off that does not answer any more, and
// leaves it with its disks. Every failure is retried.
func (c *Controller) StopCE(ctx context.Context, in StopCEInput) error {
	driver, err := c.Platforms.Driver(ctx, in.Target)
	if err != nil {
		return durable.Retried(err)
	}
	if err := driver.Stop(ctx, in.Name); err != nil {
		return durable.Retried(platforms.JobError(in.Platform, err))
	}
	return nil
}

// FinishInput says how a job ends on the share.
type FinishInput struct {
	Task     convert.Task      `json:"task"`
	Approval convert.Approval  `json:"approval"`
	Composed *convert.Composed `json:"composed,omitempty"` // nil where the job did not get so far
	Keep     bool              `json:"keep"`
}

// Finish removes the partial files of a job. With Keep the published output
// stays and the one it replaced goes; without, it is the other way round.
// Every failure but CleanupFailed is retried.
func (c *Controller) Finish(ctx context.Context, in FinishInput) error {
	store, err := c.Dial(ctx, in.Task.Storage)
	if err != nil {
		return durable.Retried(err)
	}
	defer store.Close()
	return finished(convert.Finish(ctx, store, in.Task, in.Approval, in.Composed, in.Keep))
}

// finished has every failure of an end retried but the one that nothing but a person
// helps.
func finished(err error) error {
	if job.CodeOf(err) == job.CleanupFailed {
		return err
	}
	return durable.Retried(err)
}
