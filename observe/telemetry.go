package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"google.golang.org/grpc"
)

// Options say what a process tells, and to whom.
type Options struct {
	// Service is the name of the process, such as "imageport-worker", and Version
	// that of the program.
	Service, Version string
	// Metrics is the "host:port" at which Prometheus finds the metrics, and anybody
	// whether the process is well; "" is nowhere.
	Metrics string
	// Traces is the URL of a collector that takes OTLP over HTTP, such as
	// http://127.0.0.1:4318; "" is none.
	Traces string
	// Sample is the share of calls that are traced, from 0 to 1. A caller who has
	// decided already is obeyed.
	Sample float64
	Log    *slog.Logger
	// Now is for tests, by default time.Now.
	Now func() time.Time
}

// Telemetry is what a process tells. A nil one does nothing.
type Telemetry struct {
	o   Options
	now func() time.Time
	log *slog.Logger

	registry *prometheus.Registry // nil without metrics, as the next three
	meters   *sdkmetric.MeterProvider
	measures *measures
	standing *standing

	tracers *sdktrace.TracerProvider // nil without traces
	tasks   *tasks
}

// propagator is how the context of a trace travels in headers: as the W3C has it.
var propagator = propagation.TraceContext{}

// Open prepares what was asked for, and gives nil for nothing. It sends nothing
// and listens to nothing yet.
func Open(ctx context.Context, o Options) (*Telemetry, error) {
	if o.Metrics == "" && o.Traces == "" {
		return nil, nil
	}
	t := &Telemetry{o: o, now: o.Now, log: cmp.Or(o.Log, slog.Default())}
	if t.now == nil {
		t.now = time.Now
	}
	about, err := resource.Merge(resource.Default(), resource.NewSchemaless(
		attribute.String("service.name", o.Service), attribute.String("service.version", o.Version)))
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	if o.Metrics != "" {
		if err := t.openMetrics(about); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	if o.Traces != "" {
		if err := t.openTraces(ctx, about); err != nil {
			return nil, fmt.Errorf("traces: %w", err)
		}
	}
	t.tasks = &tasks{m: t.measures, now: t.now, open: map[string]*task{}}
	if t.tracers != nil {
		t.tasks.tracer = t.tracers.Tracer("imageport")
	}
	return t, nil
}

// openMetrics makes our own metrics, and a place for those of Temporal's SDK and
// of the HTTP server, which know OpenTelemetry only.
func (t *Telemetry) openMetrics(about *resource.Resource) error {
	t.registry = prometheus.NewRegistry()
	t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	t.measures = newMeasures(t.registry)
	t.standing = &standing{now: t.now}
	t.registry.MustRegister(t.standing)
	exporter, err := otelprom.New(otelprom.WithRegisterer(t.registry), otelprom.WithoutScopeInfo())
	if err != nil {
		return err
	}
	t.meters = sdkmetric.NewMeterProvider(sdkmetric.WithResource(about), sdkmetric.WithReader(exporter),
		// Its own buckets are for milliseconds.
		sdkmetric.WithView(sdkmetric.NewView(sdkmetric.Instrument{Name: "temporal_*", Kind: sdkmetric.InstrumentKindHistogram},
			sdkmetric.Stream{Aggregation: sdkmetric.AggregationExplicitBucketHistogram{Boundaries: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 43200}}})))
	return nil
}

func (t *Telemetry) openTraces(ctx context.Context, about *resource.Resource) error {
	u, err := url.Parse(t.o.Traces)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%.200q is not the URL of a collector, such as http://127.0.0.1:4318", t.o.Traces)
	}
	if t.o.Sample < 0 || t.o.Sample > 1 {
		return fmt.Errorf("the share of calls to trace is %v: give one from 0 to 1", t.o.Sample)
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.JoinPath("v1", "traces").String()))
	if err != nil {
		return err
	}
	t.tracers = sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithBatcher(exporter),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(t.o.Sample))))
	return nil
}

// Connect adds what there is to tell of a connection to Temporal to its options:
// for the clients and the workers on it.
func (t *Telemetry) Connect(o *client.Options) error {
	if t == nil {
		return nil
	}
	o.ConnectionOptions.DialOptions = append(o.ConnectionOptions.DialOptions, grpc.WithChainUnaryInterceptor(t.tasks.intercept))
	if t.meters != nil {
		o.MetricsHandler = opentelemetry.NewMetricsHandler(opentelemetry.MetricsHandlerOptions{
			Meter: t.meters.Meter("temporal"), UseMonotonicCounters: true,
			OnError: func(err error) { t.log.Warn("metrics: one of Temporal's is left out", "error", err) },
		})
	}
	if t.tracers == nil {
		return nil
	}
	tracing, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{
		Tracer: t.tracers.Tracer("temporal"), TextMapPropagator: propagator,
		// Every look at a job's status is a query: there are too many.
		DisableQueryTracing: true, DisableBaggage: true, AllowInvalidParentSpans: true,
	})
	if err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	o.Interceptors = append(o.Interceptors, tracing)
	return nil
}

// HTTP measures and traces the calls of an HTTP server. The trace of a caller
// goes on, if its headers name one (traceparent).
func (t *Telemetry) HTTP(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	var meters metric.MeterProvider = metricnoop.NewMeterProvider()
	if t.meters != nil {
		meters = t.meters
	}
	var tracers trace.TracerProvider = tracenoop.NewTracerProvider()
	if t.tracers != nil {
		tracers = t.tracers
	}
	return otelhttp.NewHandler(next, "imageport", otelhttp.WithMeterProvider(meters), otelhttp.WithTracerProvider(tracers), otelhttp.WithPropagators(propagator))
}

// Close sends what is left to send, for as long as ctx allows. It may be called
// while the process ends for another reason: its error is for the log only.
func (t *Telemetry) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	var errs []error
	if t.tracers != nil {
		errs = append(errs, t.tracers.Shutdown(ctx))
	}
	if t.meters != nil {
		errs = append(errs, t.meters.Shutdown(ctx))
	}
	return errors.Join(errs...)
}
