package workflows

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/job"
)

// admit reads the request and finds out what there is to do.
func (b *batch) admit(ctx workflow.Context, body []byte, earlier *job.BatchReport) error {
	req, warnings, err := job.ParseBatch(body)
	b.req, b.report.Operation, b.report.DryRun = req, req.Operation, req.DryRun
	b.report.ResourceLocation = req.ResourceLocation()
	if err != nil {
		return err
	}
	if queue := workflow.GetInfo(ctx).TaskQueueName; queue != req.ResourceLocation() {
		return job.Errorf(job.WrongResourceLocation, fmt.Sprintf("Start it again with --task-queue %s", req.ResourceLocation()),
			"the batch is for resource location %q, but was started on task queue %q", req.ResourceLocation(), queue)
	}
	breathe(ctx)
	if earlier != nil {
		return b.resume()
	}
	b.report.Warnings = warnings[:min(len(warnings), maxWarnings)]
	return b.plan(ctx)
}

// resume goes on with the images of the run before.
func (b *batch) resume() error {
	var names []string
	for _, item := range b.report.Items {
		names = append(names, item.Image[strings.LastIndexByte(item.Image, '\\')+1:])
	}
	var err error
	if b.jobs, _, err = b.req.Jobs(names); err != nil {
		return err
	}
	if len(b.jobs) != len(b.report.Items) {
		return job.Errorf(job.Internal, "Start the batch again: it does what is left", "the batch had %d images and has %d", len(b.report.Items), len(b.jobs))
	}
	return nil
}

// plan lists the images, and leaves out those whose output is there.
func (b *batch) plan(ctx workflow.Context) error {
	var names []string
	if b.req.Pattern != "" {
		in := activities.ListImagesInput{Storage: b.req.Storage(), Pattern: b.req.Pattern, Format: b.req.Format(), AllVersions: b.req.AllVersions}
		if err := workflow.ExecuteActivity(checking(ctx, "list "+b.req.Pattern), ctl.ListImages, in).Get(ctx, &names); err != nil {
			return err
		}
		var err error
		if names, err = b.withoutOutputs(ctx, names); err != nil {
			return err
		}
		if len(names) == 0 {
			return job.Errorf(job.ImageNotFound, "Correct the pattern, or the folder. Files that are older versions count with allVersions only", "no image matches %q", b.req.Pattern)
		}
	}
	var err error
	if b.jobs, _, err = b.req.Jobs(names); err != nil {
		return err
	}
	breathe(ctx)
	b.report.Items = make([]job.BatchItem, len(b.jobs))
	all := make([]int, len(b.jobs))
	for i, j := range b.jobs {
		b.report.Items[i] = job.BatchItem{Image: j.Image, Output: j.Output, JobID: j.JobID, State: job.ItemPending}
		all[i] = i
	}
	there, err := b.present(ctx, all)
	for _, i := range there {
		b.report.Items[i].There("its output is there")
	}
	return err
}

// withoutOutputs leaves out the images that are the output of another one: what
// an earlier batch has made is not to be converted again.
func (b *batch) withoutOutputs(ctx workflow.Context, names []string) ([]string, error) {
	outputs := map[string]bool{}
	for i, name := range names {
		if i%100 == 99 {
			breathe(ctx)
		}
		jobs, _, err := b.req.Jobs([]string{name})
		if err != nil {
			return nil, err
		}
		outputs[jobs[0].OutputID] = true
	}
	var images []string
	for _, name := range names {
		id, err := b.req.Storage().FileID(name)
		if err != nil {
			return nil, err
		}
		if !outputs[id] {
			images = append(images, name)
		}
	}
	return images, nil
}

// present gives those of the images whose output is there, if that matters.
func (b *batch) present(ctx workflow.Context, items []int) ([]int, error) {
	if !b.req.SkipsPresent() {
		return nil, nil
	}
	var outputs []activities.OutputAt
	var asked []int
	for _, i := range items {
		j := &b.jobs[i]
		switch {
		case j.OutputID == "":
			continue // the job finds out
		case j.OutputFile != "":
			outputs = append(outputs, activities.OutputAt{Storage: j.Storage, File: j.OutputFile})
		default:
			outputs = append(outputs, activities.OutputAt{Disk: j.Output, Target: j.Target})
		}
		asked = append(asked, i)
	}
	if len(outputs) == 0 {
		return nil, nil
	}
	var there []int
	for len(outputs) > 0 {
		n := atOnce(ctx, outputs)
		var found []int
		if err := workflow.ExecuteActivity(checking(ctx, fmt.Sprintf("look for %d outputs", n)), ctl.FindOutputs, outputs[:n]).Get(ctx, &found); err != nil {
			return nil, err
		}
		for _, i := range found {
			if i >= 0 && i < n {
				there = append(there, asked[i])
			}
		}
		outputs, asked = outputs[n:], asked[n:]
	}
	return there, nil
}

const (
	// changeOutputsInParts is the version of batches that look for outputs in parts, if
	// they are many: 1. Those of releases before have failed, or nearly.
	changeOutputsInParts = "outputsInParts"
	// maxOutputsBytes is how long the outputs of one part may be, as JSON: Temporal takes
	// 2 MiB. Each disk comes with its platform, whose certificates may be long.
	maxOutputsBytes = 1 << 20
)

// atOnce is how many of the outputs one activity looks for.
func atOnce(ctx workflow.Context, outputs []activities.OutputAt) int {
	size := 0
	for i, o := range outputs {
		b, err := json.Marshal(o)
		if err != nil {
			continue // the activity says so
		}
		if size += len(b); i > 0 && size > maxOutputsBytes && workflow.GetVersion(ctx, changeOutputsInParts, workflow.DefaultVersion, 1) == 1 {
			return i
		}
	}
	return len(outputs)
}

// breathe stands between computations that may take long, with hundreds of images
// and certificates in each request: a workflow that is at one for a second counts as
// stuck.
func breathe(ctx workflow.Context) {
	out := false
	workflow.Go(ctx, func(workflow.Context) { out = true })
	_ = workflow.Await(ctx, func() bool { return out }) // a cancellation is seen by what comes next
}
