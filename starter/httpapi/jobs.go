package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"imageport/job"
	"imageport/starter"
	"imageport/starter/httpapi/auth"
)

// Job is a job as clients get it.
type Job struct {
	// ID is the id of the run: a UUID, as the Citrix service has it, that stays
	// with this job when the image gets another.
	ID string `json:"id" doc:"Names the job in paths. It is the runId."`
	// What follows is for clients of the Citrix service, in its words.
	Type          string `json:"type" doc:"The operation."`
	CitrixStatus  string `json:"status" enum:"InProgress,Complete,CompleteWithWarning,Failed,Canceled" doc:"The state, in the words of Citrix's services."`
	IsCancellable bool   `json:"isCancellable"`
	job.Status
}

func jobOf(s job.Status) Job {
	j := Job{ID: s.RunID, Type: string(s.Operation), Status: s, IsCancellable: s.State == job.StateRunning}
	switch s.State {
	case job.StateRunning:
		j.CitrixStatus = "InProgress"
	case job.StateCompleted:
		j.CitrixStatus = "Complete"
		if len(s.Warnings) > 0 {
			j.CitrixStatus = "CompleteWithWarning"
		}
	case job.StateCanceled:
		j.CitrixStatus = "Canceled"
	default:
		j.CitrixStatus = "Failed"
	}
	return j
}

// etag names one status of a job: also of another server, and after a restart.
func etag(j Job) string {
	b, err := json.Marshal(j)
	if err != nil {
		return "" // never the one asked for
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

// unquoted gives the name in an ETag header, or in a list of one.
func unquoted(tag string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
}

type startInput struct {
	Async   bool   `query:"async" doc:"Is accepted, and changes nothing: a start never waits."`
	Key     string `header:"Idempotency-Key" maxLength:"200" doc:"An id of your own: starting again with the same one gives the same job, for as long as it is the latest one of the image. With another body it is refused."`
	RawBody []byte `contentType:"application/json"`
}

// Started is a job that was started.
type Started struct {
	ID string `json:"id" doc:"Names the job in paths. It is the runId."`
	starter.Started
}

type startOutput struct {
	Location string `header:"Location" doc:"The path of the job."`
	Body     Started
}

// withKey is what an Idempotency-Key means.
func withKey(key string) []starter.StartOption {
	if key == "" {
		return nil
	}
	return []starter.StartOption{starter.RequestID(key)}
}

func (s *Server) start(op job.Operation) func(context.Context, *startInput) (*startOutput, error) {
	return func(ctx context.Context, in *startInput) (*startOutput, error) {
		r := requestOf(ctx)
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		started, err := s.Jobs.Only(r.who.MayOperate).Start(ctx, op, in.RawBody, withKey(in.Key)...)
		if err != nil {
			return nil, err
		}
		return &startOutput{Location: r.base + "/jobs/" + url.PathEscape(started.RunID), Body: Started{started.RunID, started}}, nil
	}
}

type listInput struct {
	Operation        string    `query:"operation" enum:"reverseImage,convertToUefi,upgradePvs"`
	State            string    `query:"state" enum:"running,completed,failed,canceled,terminated"`
	Phase            string    `query:"phase" enum:"preflight,createCE,enrol,compose,boot,verify,publish,tearDown,done"`
	Image            string    `query:"image" maxLength:"1000" doc:"A part of the image's path or name, in any case; with * or ? a pattern for all of it."`
	Platform         string    `query:"platform" maxLength:"100"`
	ResourceLocation string    `query:"resourceLocation" maxLength:"1000" doc:"The id of a resource location."`
	Since            time.Time `query:"since" doc:"Leaves out jobs that were started before."`
	Paging
}

// Paging says which part of a list to give.
type Paging struct {
	PageSize     int    `query:"pageSize" minimum:"1" maximum:"200" default:"50"`
	Continuation string `query:"continuationToken" maxLength:"1000" doc:"That of the page before."`
}

// Page is a part of the list of jobs, in the form that the Citrix service has.
type Page struct {
	PageSize          int    `json:"pageSize"`
	Items             []Job  `json:"items" nullable:"false"`
	ContinuationToken string `json:"continuationToken,omitempty"`
}

type listOutput struct{ Body Page }

func (s *Server) list(ctx context.Context, in *listInput) (*listOutput, error) {
	who := requestOf(ctx).who
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	found, err := s.Jobs.Only(who.MaySee).Page(ctx, starter.Filter{
		State: job.State(in.State), Operation: job.Operation(in.Operation), Platform: in.Platform,
		Phase: job.Phase(in.Phase), ResourceLocation: in.ResourceLocation, Image: in.Image, Since: in.Since,
		Within: who.Visible(), Limit: in.PageSize,
	}, in.Continuation)
	if err != nil {
		return nil, err
	}
	page := Page{PageSize: in.PageSize, Items: make([]Job, len(found.Jobs)), ContinuationToken: found.Next}
	for i, status := range found.Jobs {
		page.Items[i] = jobOf(status)
	}
	return &listOutput{page}, nil
}

// JobPath names a job, in paths.
type JobPath struct {
	ID string `path:"id" maxLength:"1000" doc:"The id of a job, with its slashes written %2F, for the latest job on the image; or the id of a run."`
}

// shared gives what the caller sees of what id names. Requests of the same rights
// that come while one looks get what it finds: it is as if they had come a moment
// earlier.
func shared[T any](ctx context.Context, s *Server, what, id string, look func(*starter.Client, context.Context, string) (T, error)) (T, error) {
	who := requestOf(ctx).who
	looked := s.gets.DoChan(lookKey(who, what, id), func() (any, error) {
		ctx, cancel := context.WithTimeout(s.live, askTimeout) // not that of the first who asks
		defer cancel()
		return look(s.Jobs.Only(who.MaySee), ctx, id)
	})
	var none T
	select {
	case <-ctx.Done():
		return none, ctx.Err()
	case found := <-looked:
		if found.Err != nil {
			return none, found.Err
		}
		return found.Val.(T), nil
	}
}

// lookKey is the same for those who see the same.
func lookKey(who auth.Principal, what, id string) string {
	return fmt.Sprintf("%#v %s %s", who.Visible(), what, id)
}

// forget has the caller's next look begin anew: one from before does not show what
// he has done.
func (s *Server) forget(ctx context.Context, what string, ids ...string) {
	for _, id := range ids {
		s.gets.Forget(lookKey(requestOf(ctx).who, what, id))
	}
}

// look tells how a job stands.
func (s *Server) look(ctx context.Context, id string) (job.Status, error) {
	return shared(ctx, s, "job", id, (*starter.Client).Get)
}

// glance tells what is known of a job without asking a worker.
func (s *Server) glance(ctx context.Context, id string) (job.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return s.Jobs.Only(requestOf(ctx).who.MaySee).Summary(ctx, id)
}

type getInput struct {
	JobPath
	Wait  string `query:"wait" doc:"How long to wait for a change, such as 30s; at most 60s." example:"30s"`
	After string `query:"after" doc:"The ETag of the status that is known."`
	Match string `header:"If-None-Match" doc:"The same as after; a status that is still the same is 304."`
}

type getOutput struct {
	ETag string `header:"ETag"`
	Body Job
}

// maxWait bounds how long a request waits for a change.
const maxWait = 60 * time.Second

func (s *Server) get(ctx context.Context, in *getInput) (*getOutput, error) {
	wait, err := waitOf(in.Wait)
	if err != nil {
		return nil, err
	}
	after := unquoted(in.After)
	if after == "" {
		after = unquoted(in.Match)
	}
	var j Job
	if wait > 0 && after != "" {
		j, err = s.await(ctx, in.ID, after, wait)
	} else {
		var status job.Status
		status, err = s.look(ctx, in.ID)
		j = jobOf(status)
	}
	if err != nil {
		return nil, err
	}
	tag := etag(j)
	if in.Match != "" && unquoted(in.Match) == tag {
		return nil, huma.ErrorWithHeaders(huma.Status304NotModified(), http.Header{"ETag": {strconv.Quote(tag)}})
	}
	return &getOutput{strconv.Quote(tag), j}, nil
}

func waitOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if seconds, err := strconv.Atoi(text); err == nil {
		text = strconv.Itoa(seconds) + "s"
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 {
		return 0, job.Errorf(job.BadRequest, "Give one such as 30s", "wait %.40q is not a length of time", text)
	}
	return min(wait, maxWait), nil
}

// await gives the status when it is another than that with the ETag after, or
// when the time is over.
func (s *Server) await(ctx context.Context, id, after string, wait time.Duration) (Job, error) {
	f, leave, err := s.follow(ctx, id)
	if err != nil {
		return Job{}, err
	}
	defer leave()
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	j, err := f.next(waiting, after)
	if err != nil && ctx.Err() == nil && errors.Is(err, waiting.Err()) {
		return f.last(ctx)
	}
	return j, err
}

type resultOutput struct{ Body job.Result }

func (s *Server) result(ctx context.Context, in *JobPath) (*resultOutput, error) {
	status, err := s.look(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	switch {
	case status.Result != nil:
		return &resultOutput{*status.Result}, nil
	case status.State == job.StateRunning:
		return nil, job.Errorf(job.JobRunning, "Wait until it has ended: GET /jobs/{id}?wait=30s&after=<etag>, or /jobs/{id}/events", "job %s has no result yet", status.JobID)
	case status.Error != nil:
		// Not the status of the code: what failed is the job, not this request.
		return nil, problem(http.StatusConflict, status.Error.Code, status.Error.Remedy, status.Error.Message)
	}
	return nil, job.Errorf(job.JobCanceled, "Start it again if the result is wanted", "job %s was canceled", status.JobID)
}

type logsOutput struct{ Body job.Logs }

func (s *Server) logs(ctx context.Context, in *JobPath) (*logsOutput, error) {
	status, err := s.glance(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	logs, err := s.Jobs.Logs(ctx, status.RunID)
	if logs.Logs == nil {
		logs.Logs = []job.Log{} // [] and not null
	}
	return &logsOutput{logs}, err
}

type cancelInput struct {
	JobPath
	Reason string `query:"reason" maxLength:"500" doc:"Is kept with the job."`
}

type cancelOutput struct{ Body Job }

func (s *Server) cancel(ctx context.Context, in *cancelInput) (*cancelOutput, error) {
	status, err := s.glance(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	who := requestOf(ctx).who
	if !who.MayOperate(status.ResourceLocation) {
		return nil, mayOnlyLook("job", status.JobID)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := s.Jobs.Cancel(ctx, status.RunID, reasonOf(who, in.Reason)); err != nil {
		return nil, err
	}
	s.forget(ctx, "job", in.ID, status.RunID, status.JobID)
	return &cancelOutput{jobOf(status)}, nil
}

func mayOnlyLook(what, id string) error {
	return job.Errorf(job.Forbidden, "Ask for the right to do so", "you may look at %s %s, but not cancel it", what, id)
}

// reasonOf is what Temporal keeps of a cancellation.
func reasonOf(who auth.Principal, reason string) string {
	by := "by " + who.Name + " over HTTP"
	if reason == "" {
		return by
	}
	return by + ": " + reason
}
