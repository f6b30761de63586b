package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"imageport/job"
	"imageport/starter/httpapi/auth"
)

// Problem is an error as clients get it: RFC 9457, with our code and remedy.
type Problem struct {
	Type   string   `json:"type" doc:"Names the kind of problem: urn:imageport: and the code in lower case." example:"urn:imageport:bad-request"`
	Title  string   `json:"title" doc:"The HTTP status in words."`
	Status int      `json:"status" doc:"The HTTP status."`
	Detail string   `json:"detail" doc:"What was found, and where."`
	Code   job.Code `json:"code" doc:"Stable across releases." example:"BAD_REQUEST"`
	Remedy string   `json:"remedy,omitempty" doc:"What to do."`
	// RequestID finds the request in the server's log.
	RequestID string `json:"requestId,omitempty" doc:"Finds the request in the server's log."`

	headers http.Header
}

// contentType is that of a Problem.
const contentType = "application/problem+json"

// Error gives the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return contentType }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// problem makes a Problem with another status than that of the code.
func problem(status int, code job.Code, remedy, detail string) *Problem {
	return &Problem{
		Type:  "urn:imageport:" + strings.ReplaceAll(strings.ToLower(string(code)), "_", "-"),
		Title: http.StatusText(status), Status: status, Code: code, Detail: detail, Remedy: remedy,
	}
}

// retrySeconds is what Retry-After says where nothing better is known.
const retrySeconds = 5

// problemOf tells a client of an error. What is not a job.Error is not shown:
// unexpected is told of it instead, if it is one.
func problemOf(err error, unexpected func(error)) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	var p *Problem
	e, coded := errors.AsType[*job.Error](err)
	switch {
	case coded:
		p = problem(statusOf(e.Code), e.Code, e.Remedy, e.Message)
		if e.Code.Transient() {
			p.headers = http.Header{"Retry-After": {strconv.Itoa(retrySeconds)}}
		}
	case errors.Is(err, auth.ErrUnavailable):
		unexpected(err)
		p = problem(http.StatusServiceUnavailable, job.Unauthenticated, "Try again later", "tokens cannot be checked at the moment")
		p.headers = http.Header{"Retry-After": {strconv.Itoa(retrySeconds)}}
	case errors.Is(err, context.Canceled):
		p = problem(http.StatusServiceUnavailable, job.TemporalUnreachable, "Try again", "the request was given up")
	case errors.Is(err, context.DeadlineExceeded):
		p = problem(http.StatusGatewayTimeout, job.TemporalUnreachable, "Try again", "the Temporal server did not answer in time")
	default:
		unexpected(err)
		p = problem(http.StatusInternalServerError, job.Internal, "Look for the request's id in the server's log", "something unexpected went wrong")
	}
	if p.Status == http.StatusUnauthorized {
		p.headers = http.Header{"WWW-Authenticate": {`Bearer realm="imageport"`}}
	}
	return p
}

// write answers a request that no operation answers.
func (p *Problem) write(w http.ResponseWriter) {
	for name, values := range p.headers {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(p.Status)
	_ = asJSON.Marshal(w, p) // the client is gone, or will see that it is cut off
}

// ownProblems makes errors that package huma finds by itself one of ours, and
// puts the request's id on all of them.
func ownProblems(ctx huma.Context, _ string, v any) (any, error) {
	if m, ok := v.(*huma.ErrorModel); ok {
		detail := m.Detail
		for _, e := range m.Errors {
			detail += "; " + strings.TrimPrefix(e.Location+": "+e.Message, ": ")
		}
		code, remedy := job.BadRequest, "Correct the request"
		if m.Status >= http.StatusInternalServerError {
			code, remedy = job.Internal, "Look for the request's id in the server's log"
		}
		v = problem(m.Status, code, remedy, detail)
	}
	if p, ok := v.(*Problem); ok {
		p.RequestID = requestOf(ctx.Context()).id
	}
	return v, nil
}
