package starter

import (
	"context"

	"imageport/job"
)

// Update is one message of Updates.
type Update struct {
	Status job.Status
	// Err is set in the last message where the job could not be watched to its
	// end.
	Err error
}

// Updates gives what Watch gives as a channel, which is closed after the last
// status. It is not buffered: a slow reader misses what has passed meanwhile,
// never the last status. Whoever stops reading early ends ctx.
func (c *Client) Updates(ctx context.Context, id string) (<-chan Update, error) {
	known, err := c.Summary(ctx, id)
	if err != nil {
		return nil, err
	}
	updates := make(chan Update)
	go func() {
		defer close(updates)
		for status, err := range c.Watch(ctx, known.RunID) {
			select {
			case updates <- Update{status, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return updates, nil
}
