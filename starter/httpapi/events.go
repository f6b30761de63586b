package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"imageport/job"
)

// eventStream is the content type of server-sent events.
const eventStream = "text/event-stream"

const (
	// writeTimeout is how long a client may take to read what was sent to it.
	writeTimeout = 30 * time.Second
	// reconnect is after how many milliseconds a client comes back.
	reconnect = 2000
)

type eventsInput struct {
	JobPath
	Last string `header:"Last-Event-ID" doc:"The id of the last event that was received."`
}

// events streams the status of a job.
func (s *Server) events(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	f, leave, err := s.follow(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	first, err := f.first(ctx, s.Beat)
	if err != nil {
		leave()
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer leave()
		_, w := humago.Unwrap(hctx)
		if first != nil && first.State != job.StateRunning && etag(*first) == unquoted(in.Last) {
			w.WriteHeader(http.StatusNoContent) // which ends the client's attempts
			return
		}
		s.stream(ctx, w, f, unquoted(in.Last))
	}}, nil
}

// first gives the job as soon as it was looked at, or nil if that takes too
// long: so that what goes wrong at once has a status of its own.
func (f *feed) first(ctx context.Context, patience time.Duration) (*Job, error) {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	j, err := f.next(waiting, "")
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, nil
	}
	return &j, err
}

// stream sends what comes after the event with the id last, for as long as a
// stream may last. What it cannot send ends it: the client is gone, or too slow.
func (s *Server) stream(ctx context.Context, w http.ResponseWriter, f *feed, last string) {
	ctx, done := context.WithTimeout(ctx, s.StreamFor)
	defer done()
	header := w.Header()
	header.Set("Content-Type", eventStream)
	header.Set("X-Accel-Buffering", "no") // of nginx
	out := eventWriter{w, http.NewResponseController(w)}
	if out.send("retry: %d\n\n", reconnect) != nil {
		return
	}
	for {
		waiting, cancel := context.WithTimeout(ctx, s.Beat)
		j, err := f.next(waiting, last)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, context.DeadlineExceeded):
			err = out.send(": still %s\n\n", "there")
		case err != nil:
			p := problemOf(err, s.unexpected(ctx))
			p.RequestID = requestOf(ctx).id
			_ = out.event("problem", "", p) // it is the last one
			return
		case etag(j) != last:
			last = etag(j)
			err = out.event("status", last, j)
		}
		if err != nil || j.ID != "" && j.State != job.StateRunning {
			return
		}
	}
}

// eventWriter writes server-sent events, each at once.
type eventWriter struct {
	w          http.ResponseWriter
	controller *http.ResponseController
}

func (e eventWriter) event(name, id string, data any) error {
	b, err := json.Marshal(data) // on one line
	if err != nil {
		return err
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	return e.send("event: %s\n%sdata: %s\n\n", name, id, b)
}

func (e eventWriter) send(format string, args ...any) error {
	_ = e.controller.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every writer has deadlines
	if _, err := fmt.Fprintf(e.w, format, args...); err != nil {
		return err
	}
	return e.controller.Flush()
}
