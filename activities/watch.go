package activities

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/activity"

	"imageport/job"
	"imageport/job/durable"
	"imageport/platforms"
)

// watchInterval is how often the platform is asked for a CE.
const watchInterval = 2 * time.Second

// WatchCEInput names a Compositing Engine to watch.
type WatchCEInput struct {
	job.Target
	Name string `json:"name"`
}

// CEStopped says that a Compositing Engine runs no more.
type CEStopped struct {
	Fault string `json:"fault,omitempty"` // why, as far as the platform knows
}

// WatchCE watches a Compositing Engine until it has stopped or is gone, however
// long that takes. A platform that does not answer says nothing about the CE.
func (c *Controller) WatchCE(ctx context.Context, in WatchCEInput) (CEStopped, error) {
	driver, err := c.Platforms.Driver(ctx, in.Target)
	if err != nil {
		return CEStopped{}, err
	}
	log := activity.GetLogger(ctx)
	durable.Report(ctx, job.Progress{}) // it is none
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		ce, err := driver.Find(ctx, in.Name)
		switch {
		case ctx.Err() != nil:
			return CEStopped{}, ctx.Err()
		case errors.Is(err, platforms.ErrNotFound):
			return CEStopped{Fault: "it is not there any more"}, nil
		case err != nil:
			log.Warn("cannot see how the Compositing Engine is", "ce", in.Name, "error", err)
		case ce.State == platforms.Stopped || ce.Fault != "":
			log.Info("Compositing Engine has stopped", "ce", in.Name, "fault", ce.Fault)
			return CEStopped{Fault: ce.Fault}, nil
		}
		select {
		case <-ctx.Done():
			return CEStopped{}, ctx.Err()
		case <-activity.GetWorkerStopChannel(ctx):
			return CEStopped{}, errors.New("the worker stops: another one watches")
		case <-ticker.C:
		}
	}
}
