package starter

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"imageport/job"
)

//go:embed batch_report.html
var batchPage string

var batchTemplate = template.Must(template.New("batch").Funcs(template.FuncMap{
	"moment": moment,
	"bytes":  bytesText,
	"took":   tookText,
	"order":  itemsInOrder,
}).Parse(batchPage))

// WriteBatchReport writes the report as one page of HTML that needs no other file
// and has no scripts. The images with failures come first.
func WriteBatchReport(w io.Writer, r job.BatchReport) error {
	return batchTemplate.Execute(w, r)
}

// reportOrder is what a reader of the report wants to see first.
var reportOrder = []job.ItemState{
	job.ItemFailed, job.ItemTerminated, job.ItemRunning, job.ItemWaiting, job.ItemPending, job.ItemCanceled, job.ItemLeft,
	job.ItemCompleted, job.ItemThere,
}

func itemsInOrder(items []job.BatchItem) []job.BatchItem {
	ordered := make([]job.BatchItem, 0, len(items))
	for _, state := range reportOrder {
		for _, item := range items {
			if item.State == state {
				ordered = append(ordered, item)
			}
		}
	}
	return ordered
}

// tookText is the time between two moments, "" where one is not known.
func tookText(from, to *time.Time) string {
	if from == nil || to == nil {
		return ""
	}
	return max(to.Sub(*from), 0).Round(time.Second).String()
}

// bytesText is a number of bytes for people, "" for none.
func bytesText(n int64) string {
	const mib, gib = 1 << 20, 1 << 30
	switch {
	case n <= 0:
		return ""
	case n < mib:
		return fmt.Sprintf("%d bytes", n)
	case n < gib:
		return fmt.Sprintf("%.1f MiB", float64(n)/mib)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/gib)
}
