package starter

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"

	"imageport/job"
)

const (
	// maxPage is how many jobs one call asks the server for.
	maxPage = 200
	// maxCalls is how many calls a page may take: where few of many jobs match,
	// it comes short.
	maxCalls = 10
)

// Page is a part of a list.
type Page struct {
	Jobs []job.Status
	// Next is the cursor of the page that follows, "" after the last one.
	Next string
}

// cursor is where in a list a page begins.
type cursor struct {
	Token []byte `json:"t,omitempty"` // of the server's page
	Skip  int    `json:"s,omitempty"` // jobs of that page that were looked at before
	Size  int    `json:"n,omitempty"` // of that page, where Skip is not 0
	Last  string `json:"l,omitempty"` // run id of the last of these
}

func (c cursor) String() string {
	if len(c.Token) == 0 && c.Skip == 0 {
		return ""
	}
	b, _ := json.Marshal(c) // bytes and numbers can always be written
	return base64.RawURLEncoding.EncodeToString(b)
}

// begin gives the index of the first job in the server's page that was not
// looked at. Jobs that have come or gone meanwhile have moved the others.
func (c cursor) begin(infos []*workflow.WorkflowExecutionInfo) int {
	if c.Skip == 0 {
		return 0
	}
	i := slices.IndexFunc(infos, func(info *workflow.WorkflowExecutionInfo) bool { return info.GetExecution().GetRunId() == c.Last })
	if i < 0 {
		return min(c.Skip, len(infos))
	}
	return i + 1
}

func parseCursor(text string) (cursor, error) {
	var c cursor
	if text == "" {
		return c, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil || c.Skip < 0 || c.Size < c.Skip || c.Size > maxPage {
		return cursor{}, badCursor()
	}
	return c, nil
}

func badCursor() error {
	return job.Errorf(job.BadRequest, "Use the one that came with the page before, with the same filter", "that is not the cursor of a page")
}

// Page gives the jobs of List from a cursor on, at most f.Limit. A page may have
// fewer, even none, and yet not be the last one. Jobs that start or end between
// two pages may be given twice or not at all.
func (c *Client) Page(ctx context.Context, f Filter, from string) (Page, error) {
	query, err := f.query()
	if err != nil {
		return Page{}, err
	}
	at, err := parseCursor(from)
	if err != nil || f.Within != nil && len(f.Within) == 0 {
		return Page{}, err
	}
	limit, size := f.limit(), min(f.limit(), maxPage)
	if f.Image != "" { // which the server cannot look for
		size = maxPage
	}
	matches := f.matches()
	var p Page
	for range maxCalls {
		if at.Size == 0 {
			at.Size = size
		}
		found, err := c.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query:         query,
			PageSize:      int32(at.Size),
			NextPageToken: at.Token,
		})
		if _, refused := errors.AsType[*serviceerror.InvalidArgument](err); refused && from != "" {
			return Page{}, badCursor()
		}
		if err != nil {
			return Page{}, failure("list the jobs", err)
		}
		infos := found.GetExecutions()
		for i := at.begin(infos); i < len(infos); i++ {
			if len(p.Jobs) == limit && i > 0 {
				p.Next = cursor{at.Token, i, at.Size, infos[i-1].GetExecution().GetRunId()}.String()
				return p, nil
			}
			if s := summary(infos[i]); matches(s.Image) {
				p.Jobs = append(p.Jobs, s)
			}
		}
		at = cursor{Token: found.GetNextPageToken()}
		p.Next = at.String()
		if len(at.Token) == 0 || len(p.Jobs) == limit {
			break
		}
	}
	return p, nil
}
