package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/negotiation"

	"imageport/job"
	"imageport/starter"
)

const (
	typeJSON = "application/json"
	typeHTML = "text/html"
	// pagePolicy is for the page of a report, which has no scripts and needs no
	// other file.
	pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
)

// Batch is a batch as clients get it.
type Batch struct {
	ID            string `json:"id" doc:"Names the batch in paths, with its slashes written %2F. It is the batchId."`
	IsCancellable bool   `json:"isCancellable"`
	job.BatchReport
}

func batchOf(r job.BatchReport) Batch {
	if r.Items == nil {
		r.Items = []job.BatchItem{} // [] and not null
	}
	return Batch{ID: r.BatchID, IsCancellable: r.State == job.StateRunning, BatchReport: r}
}

func (s *Server) batchRoutes() {
	tags := []string{"batches"}
	handle(s, huma.Operation{OperationID: "startBatch", Method: http.MethodPost, Path: "/batches", Tags: tags, DefaultStatus: http.StatusAccepted,
		Summary: "Run one operation on many images",
		Description: "Starts a batch, and does not wait for it. Its jobs are of one resource location. One batch of a name runs at a time: " +
			"another start is refused with ALREADY_RUNNING; after its end, it does what is left. With dryRun, each job only plans."}, s.startBatch)
	handle(s, huma.Operation{OperationID: "listBatches", Method: http.MethodGet, Path: "/batches", Tags: tags,
		Summary:     "List batches, the running ones first",
		Description: "In pages, as listJobs. The counts and images of a batch are with the batch itself."}, s.listBatches)
	handle(s, huma.Operation{OperationID: "getBatch", Method: http.MethodGet, Path: "/batches/{id}", Tags: tags,
		Summary:     "Show how a batch stands, with every image",
		Description: "Running jobs have their phase and progress. GET /jobs/{id} with the runId of an image has all of its job."}, s.getBatch)
	handle(s, huma.Operation{OperationID: "getBatchReport", Method: http.MethodGet, Path: "/batches/{id}/report", Tags: tags,
		Summary: "Give the report of a batch as JSON, or as a page for people",
		Responses: map[string]*huma.Response{"200": {Description: "The report: JSON, or HTML for who prefers it by Accept", Content: map[string]*huma.MediaType{
			typeJSON: {Schema: s.api.OpenAPI().Components.Schemas.Schema(batchType, true, "")},
			typeHTML: {Schema: &huma.Schema{Type: huma.TypeString}},
		}}}}, s.batchReport)
	handle(s, huma.Operation{OperationID: "cancelBatch", Method: http.MethodPost, Path: "/batches/{id}/cancel", Tags: tags, DefaultStatus: http.StatusAccepted,
		Summary:     "Stop a batch and its running jobs",
		Description: "Does not wait for the end. The jobs that run remove what they made, what was not begun is left. A batch that is canceled already is no error."}, s.cancelBatch)
}

// StartedBatch is a batch that was started.
type StartedBatch struct {
	ID       string   `json:"id" doc:"Names the batch in paths. It is the batchId."`
	BatchID  string   `json:"batchId"`
	RunID    string   `json:"runId" doc:"Names this batch also when there is a later one of that name."`
	Again    bool     `json:"again,omitempty" doc:"An earlier request with the same Idempotency-Key has started it."`
	Warnings []string `json:"warnings,omitempty"`
}

type startBatchInput struct {
	Key     string `header:"Idempotency-Key" maxLength:"200" doc:"An id of your own: starting again with the same one gives the same batch, for as long as it is the latest one of that name. With another body it is refused."`
	RawBody []byte `contentType:"application/json"`
}

type startBatchOutput struct {
	Location string `header:"Location" doc:"The path of the batch."`
	Body     StartedBatch
}

func (s *Server) startBatch(ctx context.Context, in *startBatchInput) (*startBatchOutput, error) {
	r := requestOf(ctx)
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	started, err := s.Jobs.Only(r.who.MayOperate).StartBatch(ctx, in.RawBody, withKey(in.Key)...)
	if err != nil {
		return nil, err
	}
	return &startBatchOutput{
		Location: r.base + "/batches/" + url.PathEscape(started.JobID),
		Body:     StartedBatch{started.JobID, started.JobID, started.RunID, started.Again, started.Warnings},
	}, nil
}

type listBatchesInput struct {
	State            string `query:"state" enum:"running,completed,failed,canceled,terminated"`
	ResourceLocation string `query:"resourceLocation" maxLength:"1000" doc:"The id of a resource location."`
	Paging
}

// ListedBatch is a batch in a list.
type ListedBatch struct {
	ID               string     `json:"id" doc:"Names the batch in paths. It is the batchId."`
	BatchID          string     `json:"batchId"`
	RunID            string     `json:"runId"`
	ResourceLocation string     `json:"resourceLocation"`
	State            job.State  `json:"state"`
	Started          time.Time  `json:"started"`
	Ended            *time.Time `json:"ended,omitempty"`
}

// BatchPage is a part of the list of batches.
type BatchPage struct {
	PageSize          int           `json:"pageSize"`
	Items             []ListedBatch `json:"items" nullable:"false"`
	ContinuationToken string        `json:"continuationToken,omitempty"`
}

type listBatchesOutput struct{ Body BatchPage }

func (s *Server) listBatches(ctx context.Context, in *listBatchesInput) (*listBatchesOutput, error) {
	who := requestOf(ctx).who
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	found, err := s.Jobs.Only(who.MaySee).BatchPage(ctx, starter.BatchFilter{
		State: job.State(in.State), ResourceLocation: in.ResourceLocation, Within: who.Visible(), Limit: in.PageSize,
	}, in.Continuation)
	if err != nil {
		return nil, err
	}
	page := BatchPage{PageSize: in.PageSize, Items: make([]ListedBatch, len(found.Batches)), ContinuationToken: found.Next}
	for i, r := range found.Batches {
		page.Items[i] = ListedBatch{r.BatchID, r.BatchID, r.RunID, r.ResourceLocation, r.State, r.Started, r.Ended}
	}
	return &listBatchesOutput{page}, nil
}

// BatchPath names a batch, in paths.
type BatchPath struct {
	ID string `path:"id" maxLength:"2000" doc:"The id of a batch, with its slashes written %2F, for the latest batch of that name; or the id of a run."`
}

type getBatchOutput struct{ Body Batch }

func (s *Server) getBatch(ctx context.Context, in *BatchPath) (*getBatchOutput, error) {
	r, err := shared(ctx, s, "batch", in.ID, (*starter.Client).Batch)
	if err != nil {
		return nil, err
	}
	return &getBatchOutput{batchOf(r)}, nil
}

type batchReportInput struct {
	BatchPath
	Accept string `header:"Accept" doc:"text/html gives a page, everything else JSON."`
}

type batchReportOutput struct {
	ContentType string `header:"Content-Type"`
	Policy      string `header:"Content-Security-Policy"`
	Vary        string `header:"Vary"`
	Body        []byte
}

func (s *Server) batchReport(ctx context.Context, in *batchReportInput) (*batchReportOutput, error) {
	r, err := shared(ctx, s, "batch", in.ID, (*starter.Client).Batch)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	out := &batchReportOutput{ContentType: typeJSON, Vary: "Accept"}
	if negotiation.SelectQValue(in.Accept, []string{typeJSON, typeHTML}) == typeHTML {
		out.ContentType, out.Policy = typeHTML+"; charset=utf-8", pagePolicy
		err = starter.WriteBatchReport(&b, r)
	} else {
		err = asJSON.Marshal(&b, batchOf(r))
	}
	out.Body = b.Bytes()
	return out, err
}

type cancelBatchInput struct {
	BatchPath
	Reason string `query:"reason" maxLength:"500" doc:"Is kept with the batch."`
}

type cancelBatchOutput struct{ Body ListedBatch }

func (s *Server) cancelBatch(ctx context.Context, in *cancelBatchInput) (*cancelBatchOutput, error) {
	who := requestOf(ctx).who
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := s.Jobs.Only(who.MaySee).BatchSummary(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if !who.MayOperate(r.ResourceLocation) {
		return nil, mayOnlyLook("batch", r.BatchID)
	}
	if err := s.Jobs.CancelBatch(ctx, r.RunID, reasonOf(who, in.Reason)); err != nil {
		return nil, err
	}
	s.forget(ctx, "batch", in.ID, r.BatchID, r.RunID)
	return &cancelBatchOutput{ListedBatch{r.BatchID, r.BatchID, r.RunID, r.ResourceLocation, r.State, r.Started, r.Ended}}, nil
}
