package starter

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"

	"imageport/job"
)

const (
	// maxPage is how many runs one call asks the server for.
	maxPage = 200
	// maxCalls is how many calls a page may take: where few of many runs match,
	// it comes short.
	maxCalls = 10
)

// cursor is where in a list a page begins: behind a run. There is nothing of the
// server's in it, so it is as good after a restart and for another process, and
// there is none that the server fails on.
type cursor struct {
	// Ended says that the run is in the second part of the list.
	Ended bool `json:"e,omitempty"`
	// At is when the run was started or, in the second part, when it ended.
	At time.Time `json:"t,omitzero"`
	// Run is the run's id, "" for the beginning of the part.
	Run string `json:"r,omitempty"`
}

func (c cursor) String() string {
	if c == (cursor{}) {
		return ""
	}
	b, _ := json.Marshal(c) // the year is one of parseCursor's
	return base64.RawURLEncoding.EncodeToString(b)
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
	switch {
	case err == nil && c == cursor{Ended: true}:
	case err == nil && isRunID(c.Run) && c.At.Year() >= 2000 && c.At.Year() < 2200:
	default:
		return cursor{}, job.Errorf(job.BadRequest, "Use the one that came with the page before, or begin with the first page", "that is not the cursor of a page")
	}
	return c, nil
}

// slack is by how much a server may round times.
const slack = time.Millisecond

// terms are the cursor's part of a query.
func (c cursor) terms() []string {
	if c.Run == "" {
		return nil
	}
	attribute := "StartTime"
	if c.Ended {
		attribute = "CloseTime"
	}
	return []string{attribute + " <= " + quote(c.At.Add(slack).UTC().Format(time.RFC3339Nano))}
}

// behind gives the cursor behind a run.
func (c cursor) behind(info *workflow.WorkflowExecutionInfo) cursor {
	at := info.GetStartTime()
	if c.Ended {
		at = info.GetCloseTime()
	}
	return cursor{c.Ended, at.AsTime(), info.GetExecution().GetRunId()}
}

// rest gives what comes behind the cursor, of runs in their order. found says
// that its place is among them: where its run has gone, that is where it was.
func (c cursor) rest(infos []*workflow.WorkflowExecutionInfo) (rest []*workflow.WorkflowExecutionInfo, found bool) {
	i := slices.IndexFunc(infos, func(info *workflow.WorkflowExecutionInfo) bool { return info.GetExecution().GetRunId() == c.Run })
	if i >= 0 {
		return infos[i+1:], true
	}
	i = slices.IndexFunc(infos, func(info *workflow.WorkflowExecutionInfo) bool { return !c.behind(info).At.After(c.At) })
	if i >= 0 {
		return infos[i:], true
	}
	return nil, false
}

// part is one of the two parts of a list. The server gives each with the latest
// first, by the time that cursor.At is: an order that stays as it is while somebody
// reads page by page.
type part struct {
	ended bool
	term  string
}

// partsOf gives the parts of a list of what is in that state, "" for all.
func partsOf(state job.State) ([]part, error) {
	if state == "" {
		var ended []string
		for s, names := range statuses {
			if s != job.StateRunning {
				ended = append(ended, names)
			}
		}
		slices.Sort(ended)
		names := strings.Join(ended, ", ")
		return []part{{false, "ExecutionStatus NOT IN (" + names + ", 'ContinuedAsNew')"}, {true, "ExecutionStatus IN (" + names + ")"}}, nil
	}
	names, ok := statuses[state]
	if !ok {
		return nil, job.Errorf(job.BadRequest, "Use one of running, completed, failed, canceled, terminated", "there is no state %q", state)
	}
	return []part{{state != job.StateRunning, "ExecutionStatus IN (" + names + ")"}}, nil
}

// listing is what to list.
type listing struct {
	of    kind
	terms []string // of the query, besides those of the state
	state job.State
	limit int // of what is taken
	size  int // of the server's pages
}

// page gives runs to take, which reports whether it took one, from a cursor on and
// until it has taken so many. next is the cursor of what follows, "" for nothing.
func (c *Client) page(ctx context.Context, l listing, from string, take func(*workflow.WorkflowExecutionInfo) bool) (next string, err error) {
	begin, err := parseCursor(from)
	if err != nil {
		return "", err
	}
	parts, err := partsOf(l.state)
	if err != nil {
		return "", err
	}
	taken, calls := 0, 0
	for _, p := range parts {
		if begin.Ended && !p.ended {
			continue
		}
		at := cursor{Ended: p.ended}
		if begin.Ended == p.ended {
			at = begin
		}
		query := strings.Join(slices.Concat(l.terms, []string{p.term}, at.terms()), " AND ")
		inPlace := at.Run == ""
		for token := []byte(nil); ; {
			if calls++; calls > maxCalls {
				return at.String(), nil
			}
			found, err := c.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: query, PageSize: int32(l.size), NextPageToken: token})
			if err != nil {
				return "", failure("list the "+l.of.plural, err)
			}
			infos := found.GetExecutions()
			if !inPlace {
				infos, inPlace = at.rest(infos)
			}
			for _, info := range infos {
				if taken == l.limit {
					return at.String(), nil
				}
				if c.allows(info.GetTaskQueue()) && take(info) {
					taken++
				}
				at = at.behind(info)
			}
			if token = found.GetNextPageToken(); len(token) == 0 {
				break
			}
			if taken == l.limit {
				return at.String(), nil
			}
		}
	}
	return "", nil
}

// everything reads page by page until there are so many, or no more. page gives
// one of at most limit.
func everything[T any](limit int, page func(limit int, from string) ([]T, string, error)) ([]T, error) {
	var all []T
	for next := ""; ; {
		some, more, err := page(limit-len(all), next)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if next = more; next == "" || len(all) >= limit {
			return all, nil
		}
	}
}

// defaultLimit is how many a list gives at most, unless something else is asked for.
const defaultLimit = 100

func limitOf(n int) int {
	if n <= 0 {
		return defaultLimit
	}
	return n
}

// within is the query's term for the only resource locations to list.
func within(resourceLocations []string) string {
	names := make([]string, len(resourceLocations))
	for i, name := range resourceLocations {
		names[i] = quote(name)
	}
	return "TaskQueue IN (" + strings.Join(names, ", ") + ")"
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
