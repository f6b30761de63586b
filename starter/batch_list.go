package starter

import (
	"context"

	"go.temporal.io/api/workflow/v1"

	"imageport/job"
	"imageport/job/durable"
)

// BatchFilter says which batches to list. An empty field filters nothing.
type BatchFilter struct {
	State            job.State
	ResourceLocation string
	// Within are the only resource locations whose batches may be given; nil is all.
	Within []string
	// Limit is the largest number of batches to give; 0 is 100.
	Limit int
}

// BatchPage is a part of a list of batches.
type BatchPage struct {
	Batches []job.BatchReport
	// Next is the cursor of the page that follows, "" after the last one.
	Next string
}

// ListBatches gives the batches that the namespace remembers, as List does jobs.
// It asks no worker: a report has no items and counts, Batch's has.
func (c *Client) ListBatches(ctx context.Context, f BatchFilter) ([]job.BatchReport, error) {
	return everything(limitOf(f.Limit), func(limit int, from string) ([]job.BatchReport, string, error) {
		f.Limit = limit
		p, err := c.BatchPage(ctx, f, from)
		return p.Batches, p.Next, err
	})
}

// BatchPage gives the batches of ListBatches from a cursor on, as Page does jobs.
func (c *Client) BatchPage(ctx context.Context, f BatchFilter, from string) (BatchPage, error) {
	limit := limitOf(f.Limit)
	l := listing{of: kindBatch, terms: []string{"WorkflowType = " + quote(durable.WorkflowBatch)}, state: f.State, limit: limit, size: min(limit+1, maxPage)}
	if f.ResourceLocation != "" {
		l.terms = append(l.terms, "TaskQueue = "+quote(f.ResourceLocation))
	}
	if f.Within != nil {
		if len(f.Within) == 0 {
			return BatchPage{}, nil
		}
		l.terms = append(l.terms, within(f.Within))
	}
	var p BatchPage
	var err error
	p.Next, err = c.page(ctx, l, from, func(info *workflow.WorkflowExecutionInfo) bool {
		p.Batches = append(p.Batches, batchSummary(info))
		return true
	})
	if err != nil {
		return BatchPage{}, err
	}
	return p, nil
}
