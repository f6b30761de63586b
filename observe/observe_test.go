package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/failure/v1"
	"go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc"

	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
)

// quiet is a telemetry with metrics that listens to nothing.
func quiet(t *testing.T) *Telemetry {
	t.Helper()
	tel, err := Open(t.Context(), Options{Service: "test", Metrics: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tel.Close(context.Background()) })
	return tel
}

func TestNewLogger(t *testing.T) {
	for _, test := range []struct{ format, level, bad string }{
		{"", "", ""},
		{"text", "debug", ""},
		{"JSON", "WARN", ""},
		{"yaml", "", "log format"},
		{"", "loud", "log level"},
	} {
		var out bytes.Buffer
		l, err := NewLogger(&out, test.format, test.level)
		if test.bad != "" {
			if err == nil || !strings.Contains(err.Error(), test.bad) {
				t.Errorf("%+v: %v", test, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", test, err)
			continue
		}
		l.Debug("d")
		l.Error("e", "k", 1)
		if lines := strings.Count(out.String(), "\n"); lines != map[string]int{"debug": 2}[test.level]+1-map[string]int{"debug": 1}[test.level] {
			t.Errorf("%+v: %d lines", test, lines)
		}
		if strings.EqualFold(test.format, FormatJSON) && !json.Valid(out.Bytes()) {
			t.Errorf("not JSON: %s", &out)
		}
	}
}

// What the gateway denies is counted, also what it keeps quiet about.
func TestLogCounts(t *testing.T) {
	tel := quiet(t)
	l := tel.Log(slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil)))
	l.With("ce", "x").Warn("gateway: denied", "cause", "y")
	l.With("unlogged", 7).WithGroup("g").Warn("gateway: denied")
	l.Warn("gateway: enrolment refused")
	l.Info("something else")
	for _, want := range []struct {
		c prometheus.Counter
		n float64
	}{
		{tel.measures.denials.WithLabelValues("call"), 9},
		{tel.measures.denials.WithLabelValues("enrolment"), 1},
		{tel.measures.logged.WithLabelValues("warn"), 3},
		{tel.measures.logged.WithLabelValues("info"), 1},
	} {
		if got := testutil.ToFloat64(want.c); got != want.n {
			t.Errorf("%v: %v, want %v", want.c.Desc(), got, want.n)
		}
	}
}

// call passes a call to Temporal by the interceptor.
func call(t *testing.T, ts *tasks, request, reply any) {
	t.Helper()
	if err := ts.intercept(t.Context(), "m", request, reply, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestTasks(t *testing.T) {
	tel := quiet(t)
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	now := time.Unix(1_800_000_000, 0)
	ts := &tasks{m: tel.measures, tracer: tracer, now: func() time.Time { return now }, open: map[string]*task{}}
	header, err := converter.GetDefaultDataConverter().ToPayload(map[string]string{"traceparent": "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01"})
	if err != nil {
		t.Fatal(err)
	}
	give := func(token, activity, queue string) {
		call(t, ts, &workflowservice.PollActivityTaskQueueRequest{TaskQueue: &taskqueue.TaskQueue{Name: queue}},
			&workflowservice.PollActivityTaskQueueResponse{TaskToken: []byte(token), ActivityType: &common.ActivityType{Name: activity},
				Header: &common.Header{Fields: map[string]*common.Payload{"_tracer-data": header}}})
	}
	beat := func(token, step string, done int64) {
		details, err := converter.GetDefaultDataConverter().ToPayloads(job.Progress{Step: step, DoneBytes: done}, "a checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		call(t, ts, &workflowservice.RecordActivityTaskHeartbeatRequest{TaskToken: []byte(token), Details: details}, &workflowservice.RecordActivityTaskHeartbeatResponse{})
	}
	fail := func(token, code string) {
		call(t, ts, &workflowservice.RespondActivityTaskFailedRequest{TaskToken: []byte(token), Failure: &failure.Failure{
			Message:     "a secret of the share",
			FailureInfo: &failure.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failure.ApplicationFailureInfo{Type: code}},
		}}, &workflowservice.RespondActivityTaskFailedResponse{})
	}
	ce := seed.Queue("ce-0123456789ab")

	if ts.silent() != 0 || testutil.CollectAndCount(tel.measures.lastPoll) != 0 {
		t.Error("who polls nothing is silent")
	}
	// Before the first answer, it counts from the question: a worker that has just
	// begun is no alarm.
	_ = ts.intercept(t.Context(), "m", &workflowservice.PollWorkflowTaskQueueRequest{}, nil, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
		return errors.New("no answer")
	})
	if got := testutil.ToFloat64(tel.measures.lastPoll); got != 1_800_000_000 {
		t.Errorf("the first poll was at %v", got)
	}
	give("", "", "location") // no task in time
	give("1", "Preflight", "location")
	give("2", "Copy", ce)
	beat("2", "copy", 1000) // an earlier attempt's
	beat("2", "copy", 1500)
	beat("2", "copy", 1200) // began anew
	beat("2", "copy", 1300)
	beat("2", "verify", 700)
	beat("2", "verify", 710)
	beat("of another worker", "copy", 1<<40)
	now = now.Add(3 * time.Second)
	call(t, ts, &workflowservice.RespondActivityTaskCompletedRequest{TaskToken: []byte("1")}, &workflowservice.RespondActivityTaskCompletedResponse{})
	fail("2", "SHARE_IO")
	fail("2", "SHARE_IO") // the SDK sends it again
	for i, code := range []string{"wrapError", strings.Repeat("A", 99), "", "a\nb"} {
		token := string(rune('a' + i))
		give(token, "Copy", ce)
		fail(token, code)
	}
	for name, check := range map[string]struct{ got, want float64 }{
		"progress": {testutil.ToFloat64(tel.measures.progress.WithLabelValues("Copy")), 500 + 100 + 10},
		"failed":   {testutil.ToFloat64(tel.measures.failures.WithLabelValues("Copy", "SHARE_IO")), 1},
		"defects":  {testutil.ToFloat64(tel.measures.failures.WithLabelValues("Copy", "INTERNAL")), 4},
		"open":     {float64(len(ts.open)), 0},
		"series":   {float64(testutil.CollectAndCount(tel.measures.activity)), 2},
	} {
		if check.got != check.want {
			t.Errorf("%s: %v, want %v", name, check.got, check.want)
		}
	}

	// Only those of Compositing Engines have a span here, under the workflow's.
	ended := spans.Ended()
	if len(ended) != 5 {
		t.Fatalf("%d spans", len(ended))
	}
	s := ended[0]
	if s.Name() != "RunActivity:Copy" || s.Parent().TraceID().String() != "0102030405060708090a0b0c0d0e0f10" || s.EndTime().Sub(s.StartTime()) != 3*time.Second ||
		s.Status().Code != codes.Error || s.Status().Description != "SHARE_IO" {
		t.Errorf("%+v", s)
	}

	now = now.Add(time.Minute)
	if ts.silent() != time.Minute {
		t.Errorf("silent for %v", ts.silent())
	}
}

// Tasks that nobody answers for do not add up.
func TestTasksBounded(t *testing.T) {
	now := time.Unix(0, 0)
	ts := &tasks{now: func() time.Time { return now }, open: map[string]*task{}}
	for i := range 2 * maxTasks {
		ts.begin(&workflowservice.PollActivityTaskQueueResponse{TaskToken: []byte{byte(i), byte(i >> 8), byte(i >> 16)}}, "q")
		if i == maxTasks+10 {
			now = now.Add(idleAfter + time.Second)
		}
	}
	if len(ts.open) > maxTasks {
		t.Errorf("%d are remembered", len(ts.open))
	}
	if _, ok := ts.open[string([]byte{byte(20), byte((maxTasks + 20) >> 8), 0})]; !ok && len(ts.open) < maxTasks-50 {
		t.Errorf("%d are remembered: those of before keep new ones out", len(ts.open))
	}
}

func TestEnd(t *testing.T) {
	m := quiet(t).measures
	for _, test := range []struct {
		platform string
		result   *job.Result
		err      error
		labels   []string
	}{
		{"local", &job.Result{BytesRead: 100, BytesWritten: 30}, nil, []string{"convertToUefi", "local", "completed", ""}},
		{"VMware", &job.Result{DryRun: true, BytesRead: 9}, nil, []string{"convertToUefi", "vSphere", "completed", ""}},
		{"local", nil, temporal.NewCanceledError(), []string{"convertToUefi", "local", "canceled", ""}},
		{"", nil, durable.Failure(job.Errorf(job.BadRequest, "r", "m")), []string{"convertToUefi", "other", "failed", "BAD_REQUEST"}},
		{"somebody's name", nil, errors.New("x"), []string{"convertToUefi", "other", "failed", "INTERNAL"}},
	} {
		m.end(job.OpConvertToUEFI, test.platform, test.result, test.err, time.Minute)
		if n := testutil.ToFloat64(m.ended.WithLabelValues(test.labels...)); n != 1 {
			t.Errorf("%v: %v", test.labels, n)
		}
	}
	if r, w := testutil.ToFloat64(m.bytes.WithLabelValues("convertToUefi", "local", "read")), testutil.ToFloat64(m.bytes.WithLabelValues("convertToUefi", "local", "written")); r != 100 || w != 30 {
		t.Errorf("%v read, %v written", r, w)
	}
	if n := testutil.CollectAndCount(m.bytes); n != 2 {
		t.Errorf("%d series of bytes: a dry run has none", n)
	}
}

func TestSweep(t *testing.T) {
	m := quiet(t).measures
	vc := func(user string, ces int, failed string) job.SweepTarget {
		return job.SweepTarget{Target: job.Target{Platform: "vSphere", Placement: job.Placement{VSphere: job.VSphere{VCenterHost: "vc.example.com"}}, PlatformCredentialID: user}, CEs: ces, Others: 1, Error: failed}
	}
	m.sweep(&job.SweepResult{Targets: []job.SweepTarget{{Target: job.Target{Platform: "qemu"}, CEs: 5}}}, time.Unix(1, 0))
	m.sweep(&job.SweepResult{
		Targets: []job.SweepTarget{vc("a", 2, ""), vc("b", 3, ""), vc("c", 0, "no answer"), {Target: job.Target{Platform: "local"}, CEs: 1}},
		Kept:    []job.SweptCE{{Platform: "vSphere vc.example.com", Age: job.Period(time.Hour)}, {Platform: "vSphere vc.example.com", Age: job.Period(time.Minute)}},
		Removed: []job.SweptCE{{Platform: "local"}, {Platform: "local"}},
		Failed:  []job.SweptCE{{Platform: "vSphere vc.example.com"}},
	}, time.Unix(60, 0))
	want := `
# HELP imageport_ces Compositing Engines that the last sweep on this worker found.
# TYPE imageport_ces gauge
imageport_ces{owner="other",platform="local"} 0
imageport_ces{owner="other",platform="vSphere"} 1
imageport_ces{owner="own",platform="local"} 1
imageport_ces{owner="own",platform="vSphere"} 3
`
	if err := testutil.CollectAndCompare(m.ces, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	for name, check := range map[string]struct{ got, want float64 }{
		"oldest":      {testutil.ToFloat64(m.oldestCE.WithLabelValues("vSphere")), 3600},
		"removed":     {testutil.ToFloat64(m.swept.WithLabelValues("local", "removed")), 2},
		"failed":      {testutil.ToFloat64(m.swept.WithLabelValues("vSphere", "failed")), 1},
		"unreachable": {testutil.ToFloat64(m.unreachable), 1},
		"last":        {testutil.ToFloat64(m.lastSweep), 60},
	} {
		if check.got != check.want {
			t.Errorf("%s: %v, want %v", name, check.got, check.want)
		}
	}
}

// What is not configured costs nothing, and needs no look.
func TestOff(t *testing.T) {
	tel, err := Open(t.Context(), Options{Service: "test"})
	if tel != nil || err != nil {
		t.Fatalf("%v, %v", tel, err)
	}
	l := slog.New(slog.DiscardHandler)
	if tel.Log(l) != l || tel.Interceptors() != nil || tel.HTTP(nil) != nil || tel.Connect(nil) != nil || tel.Close(t.Context()) != nil {
		t.Error("it does something")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tel.Follow(ctx, nil, "", "")
	if err := tel.Serve(ctx); err != nil {
		t.Error(err)
	}
	for _, bad := range []Options{{Traces: "collector:4318"}, {Traces: "ftp://x"}, {Traces: "http://x", Sample: 2}} {
		if _, err := Open(t.Context(), bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
