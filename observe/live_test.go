package observe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
	"imageport/testkit/devserver"
)

// spanStore is a collector of OTLP over HTTP.
type spanStore struct {
	mu    sync.Mutex
	spans []*otlp.Span
}

func (s *spanStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &request) != nil {
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range request.GetResourceSpans() {
		for _, scope := range of.GetScopeSpans() {
			s.spans = append(s.spans, scope.GetSpans()...)
		}
	}
}

// One trace goes from the caller of the API to the work of a Compositing Engine,
// and the metrics tell of the job: with a real server, real workers, and an agent
// that has no telemetry, behind the worker's connection.
func TestLive(t *testing.T) {
	store := &spanStore{}
	otel := httptest.NewServer(store)
	defer otel.Close()
	metrics := freeAddress(t)
	tel, err := Open(t.Context(), Options{Service: "imageport-test", Metrics: metrics, Traces: otel.URL, Sample: 0, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	server := devserver.Shared(t)
	o := client.Options{HostPort: server.Address, Namespace: devserver.Namespace, Logger: nopLog{}}
	if err := tel.Connect(&o); err != nil {
		t.Fatal(err)
	}
	c, err := client.DialContext(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	queue := "observe-live"
	ceQueue := seed.Queue("ce-aaaaaaaaaaaa")
	w := worker.New(c, queue, worker.Options{Interceptors: append(tel.Interceptors(), interceptor.WorkerInterceptor(&durable.Interceptor{}))})
	release := make(chan struct{})
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context) (*job.Result, error) {
		if err := workflow.UpsertTypedSearchAttributes(ctx, durable.AttrPlatform.ValueSet("local"), durable.AttrPhase.ValueSet("compose")); err != nil {
			return nil, err
		}
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		if err := workflow.ExecuteActivity(ctx, "Preflight").Get(ctx, nil); err != nil {
			return nil, err
		}
		ctx = workflow.WithTaskQueue(ctx, ceQueue)
		return &job.Result{BytesRead: 1000}, workflow.ExecuteActivity(ctx, "Compose").Get(ctx, nil)
	}, workflow.RegisterOptions{Name: string(job.OpConvertToUEFI)})
	w.RegisterActivityWithOptions(func(context.Context) error { return nil }, activity.RegisterOptions{Name: "Preflight"})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()

	// The agent's calls pass on the worker's connection, as the gateway's do; it has
	// no tracing of its own.
	ce := worker.New(newPlainClient(t, c), ceQueue, worker.Options{Interceptors: []interceptor.WorkerInterceptor{&durable.Interceptor{}}})
	ce.RegisterActivityWithOptions(func(ctx context.Context) error {
		durable.Report(ctx, job.Progress{Step: "copy", DoneBytes: 10})
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	}, activity.RegisterOptions{Name: "Compose"})
	if err := ce.Start(); err != nil {
		t.Fatal(err)
	}
	defer ce.Stop()

	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := tel.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
	var run client.WorkflowRun
	api := httptest.NewServer(tel.HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		run, err = c.ExecuteWorkflow(r.Context(), client.StartWorkflowOptions{ID: "observe-live", TaskQueue: queue}, string(job.OpConvertToUEFI))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})))
	defer api.Close()
	// Sample is 0: the caller's decision counts.
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, api.URL+"/ips/images/$convertToUefi", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("traceparent", "00-"+traceID+"-b7ad6b7169203331-01")
	answer, err := http.DefaultClient.Do(request)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer, err)
	}
	answer.Body.Close()

	// Visibility shows the job after a moment.
	var text string
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		seen, err := tel.look(t.Context(), c, devserver.Namespace, queue)
		if err != nil {
			t.Fatal(err)
		}
		tel.standing.last.Store(&look{time.Now(), seen})
		if text = scrape(t, metrics); strings.Contains(text, `imageport_jobs_running{operation="convertToUefi",phase="compose",platform="local"} 1`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the job is not seen:\n%s", grep(text, "imageport_job"))
		}
	}
	close(release)
	if err := run.Get(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	text = scrape(t, metrics)
	for _, want := range []string{
		`imageport_jobs{operation="convertToUefi",state="running"} 1`,
		`imageport_jobs_ended_total{code="",operation="convertToUefi",platform="local",state="completed"} 1`,
		`imageport_job_bytes_total{direction="read",operation="convertToUefi",platform="local"} 1000`,
		`imageport_activity_duration_seconds_count{activity="Preflight",outcome="completed",place="worker"} 1`,
		`imageport_activity_duration_seconds_count{activity="Compose",outcome="completed",place="ce"} 1`,
		`imageport_last_poll_timestamp_seconds`,
		`temporal_workflow_completed_total{`,
		`temporal_activity_execution_latency_seconds_bucket{`,
		`http_server_request_duration_seconds_count{`,
		`go_goroutines `,
	} {
		// The SDK counts after it has told the server.
		for deadline := time.Now().Add(5 * time.Second); !strings.Contains(text, want) && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			text = scrape(t, metrics)
		}
		if !strings.Contains(text, want) {
			t.Errorf("%s is not there; there is\n%s", want, grep(text, strings.SplitN(want, "{", 2)[0]))
		}
	}
	if health, err := http.Get("http://" + metrics + "/healthz"); err != nil || health.StatusCode != http.StatusOK {
		t.Error(health, err)
	}
	cancel()
	running.Wait()
	w.Stop() // its spans end with it
	if err := tel.Close(t.Context()); err != nil {
		t.Error(err)
	}

	store.mu.Lock()
	defer store.mu.Unlock()
	names := map[string]string{} // by span id
	parents := map[string]string{}
	for _, s := range store.spans {
		if fmt.Sprintf("%x", s.GetTraceId()) != traceID {
			t.Errorf("span %s is of trace %x", s.GetName(), s.GetTraceId())
		}
		names[string(s.GetSpanId())] = s.GetName()
		parents[s.GetName()] = string(s.GetParentSpanId())
	}
	for _, way := range [][2]string{
		{"RunActivity:Compose", "StartActivity:Compose"},
		{"StartActivity:Compose", "RunWorkflow:convertToUefi"},
		{"RunWorkflow:convertToUefi", "StartWorkflow:convertToUefi"},
		{"StartWorkflow:convertToUefi", "POST"},
	} {
		if got := names[parents[way[0]]]; got != way[1] && !strings.HasPrefix(got, way[1]) {
			t.Errorf("%s is under %q, not %s", way[0], got, way[1])
		}
	}
}

// newPlainClient is a client without tracing or metrics on the connection of c.
func newPlainClient(t *testing.T, c client.Client) client.Client {
	t.Helper()
	plain, err := client.NewClientFromExistingWithContext(t.Context(), c, client.Options{Namespace: devserver.Namespace, Logger: nopLog{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plain.Close)
	return plain
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func scrape(t *testing.T, address string) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get("http://" + address + "/metrics")
		if err == nil {
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Fatal(answer.Status, err)
			}
			return string(text)
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func grep(text, part string) string {
	var found strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			found.WriteString(line)
		}
	}
	return found.String()
}

type nopLog struct{}

func (nopLog) Debug(string, ...any) {}
func (nopLog) Info(string, ...any)  {}
func (nopLog) Warn(string, ...any)  {}
func (nopLog) Error(string, ...any) {}
