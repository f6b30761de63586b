package convert

import (
	"context"
	"strings"

	"imageport/engine/publish"
	"imageport/engine/share"
	"imageport/job"
)

// replaceable refuses to replace anything but an earlier output: a differencing
// disk of the same image. A slip in outputImageFilename must not cost another
// vDisk.
func replaceable(ctx context.Context, store share.Store, t Task) error {
	what, err := publish.KindOf(ctx, store, t.Output)
	if err != nil {
		return err
	}
	if strings.EqualFold(what.Parent, t.Input) {
		return publish.UnknownToPVS(ctx, store, t.Output)
	}
	return job.Errorf(job.OutputExists, "Choose another outputImageFilename, or remove the file if it is not needed",
		"overwriteOutput replaces only a differencing disk of %s, and %s is %s", t.Input, t.Output, what)
}
