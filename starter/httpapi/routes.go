package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"imageport/job"
)

// publicPaths are for everybody.
var publicPaths = []string{"/healthz", "/readyz", documentPath + ".json", documentPath + ".yaml", documentPath + "-3.0.json"}

const documentPath = "/openapi"

// routes registers all operations.
func (s *Server) routes() {
	for _, o := range []struct {
		op      job.Operation
		summary string
	}{
		{job.OpReverseImage, "Make a native disk of the hypervisor from a vDisk"},
		{job.OpConvertToUEFI, "Make a GPT/UEFI differencing disk beside a BIOS/MBR vDisk"},
		{job.OpUpgradePVS, "Copy a vDisk, with the PVS target software in it upgraded"},
	} {
		handle(s, huma.Operation{
			OperationID: string(o.op), Method: http.MethodPost, Path: "/images/$" + string(o.op), Tags: []string{"images"},
			Summary: o.summary, DefaultStatus: http.StatusAccepted,
			Description: "Starts a job, and does not wait for it. An image has one running job at a time: another start is refused with ALREADY_RUNNING.",
		}, s.start(o.op))
	}
	handle(s, huma.Operation{OperationID: "listJobs", Method: http.MethodGet, Path: "/jobs", Tags: []string{"jobs"},
		Summary:     "List jobs, the running ones first",
		Description: "A page may have fewer jobs than asked for, and yet not be the last one: that one has no continuationToken. Jobs in a list have no progress, warnings, error or result."}, s.list)
	handle(s, huma.Operation{OperationID: "getJob", Method: http.MethodGet, Path: "/jobs/{id}", Tags: []string{"jobs"},
		Summary:     "Show how a job stands, or wait until that has changed",
		Description: "With wait and after (or If-None-Match), the answer comes when the status is another than the one with that ETag, when the job has ended, or when the time is over."}, s.get)
	handle(s, huma.Operation{OperationID: "getJobResult", Method: http.MethodGet, Path: "/jobs/{id}/result", Tags: []string{"jobs"},
		Summary:     "Give the result of a job that has completed",
		Description: "For a job that has none the answer is 409: JOB_RUNNING, or the code that it ended with."}, s.result)
	handle(s, huma.Operation{OperationID: "getJobLogs", Method: http.MethodGet, Path: "/jobs/{id}/logs", Tags: []string{"jobs"},
		Summary: "Give the ends of the logs of a job, without secrets"}, s.logs)
	handle(s, huma.Operation{OperationID: "watchJob", Method: http.MethodGet, Path: "/jobs/{id}/events", Tags: []string{"jobs"},
		Summary: "Stream the status of a job (server-sent events)",
		Description: "An event \"status\" has the job as JSON, and its ETag as the id; there is one whenever the status has changed. The stream ends with the job or after some minutes, " +
			"and continues behind Last-Event-ID; for a job that ended with that event, the answer is 204. An event \"problem\" says why the stream breaks off.",
		Responses: map[string]*huma.Response{"200": {Description: "The stream", Content: map[string]*huma.MediaType{eventStream: {Schema: &huma.Schema{Type: huma.TypeString}}}}}}, s.events)
	handle(s, huma.Operation{OperationID: "cancelJob", Method: http.MethodPost, Path: "/jobs/{id}/cancel", Tags: []string{"jobs"},
		Summary: "Stop a job and remove what it made", DefaultStatus: http.StatusAccepted,
		Description: "Does not wait for the end. A job that is canceled already is no error."}, s.cancel)
	handle(s, huma.Operation{OperationID: "deleteJob", Method: http.MethodDelete, Path: "/jobs/{id}", Tags: []string{"jobs"},
		Summary: "The same as cancelJob", DefaultStatus: http.StatusAccepted}, s.cancel)
	s.batchRoutes()
	if s.Credentials != nil {
		s.credentialRoutes()
	}
	s.serviceRoutes()
}

// handle registers an operation whose errors are Problems.
func handle[I, O any](s *Server, op huma.Operation, f func(context.Context, *I) (*O, error)) {
	if op.MaxBodyBytes == 0 {
		op.MaxBodyBytes = maxBodyBytes
	}
	op.BodyReadTimeout = bodyTimeout
	op.SkipValidateBody = true // package job and the wallet know what there may be
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{Description: "What went wrong, and what to do", Content: map[string]*huma.MediaType{
		contentType: {Schema: huma.SchemaFromType(s.api.OpenAPI().Components.Schemas, problemType)},
	}}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := f(ctx, in)
		if err == nil {
			return out, nil
		}
		if se, ok := errors.AsType[huma.StatusError](err); ok && se.GetStatus() < http.StatusBadRequest {
			return nil, err // not modified
		}
		return nil, problemOf(err, s.unexpected(ctx))
	})
}

// unexpected logs what the client is not told.
func (s *Server) unexpected(ctx context.Context) func(error) {
	return func(err error) { s.Log.Error("unexpected", "error", err, "request", requestOf(ctx).id) }
}
