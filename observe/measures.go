package observe

import (
	"regexp"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"imageport/job"
)

// buckets are for what takes from a tenth of a second to half a day, in seconds.
var buckets = []float64{.1, .5, 1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 43200}

// measures are our own metrics. Temporal's SDK has its own beside them.
type measures struct {
	ended    *prometheus.CounterVec   // operation, platform, state, code
	duration *prometheus.HistogramVec // operation, platform, state
	bytes    *prometheus.CounterVec   // operation, platform, direction

	activity *prometheus.HistogramVec // activity, place, outcome
	failures *prometheus.CounterVec   // activity, code
	progress *prometheus.CounterVec   // activity

	ces         *prometheus.GaugeVec   // platform, owner
	oldestCE    *prometheus.GaugeVec   // platform
	swept       *prometheus.CounterVec // platform, outcome
	unreachable prometheus.Gauge
	lastSweep   *prometheus.GaugeVec // none, as lastPoll: there is none until it is set

	denials  *prometheus.CounterVec // kind
	logged   *prometheus.CounterVec // level
	lastPoll *prometheus.GaugeVec   // none

	codes codeSet
}

func newMeasures(r prometheus.Registerer) *measures {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels))
	}
	return &measures{
		ended:    counter("imageport_jobs_ended_total", "Jobs that ended on this worker. Terminated ones do not count: nobody hears of them.", "operation", "platform", "state", "code"),
		duration: histogram("imageport_job_duration_seconds", "Time from the start of a job to its end.", "operation", "platform", "state"),
		bytes:    counter("imageport_job_bytes_total", "Bytes that completed jobs read from shares and wrote to them, as their results say.", "operation", "platform", "direction"),

		activity: histogram("imageport_activity_duration_seconds", "Time that an attempt of an activity took, on a worker or a Compositing Engine.", "activity", "place", "outcome"),
		failures: counter("imageport_activity_failures_total", "Attempts of activities that failed, by the code of the failure.", "activity", "code"),
		progress: counter("imageport_activity_progress_bytes_total", "Bytes that running activities say they have done.", "activity"),

		ces:         gauge("imageport_ces", "Compositing Engines that the last sweep on this worker found.", "platform", "owner"),
		oldestCE:    gauge("imageport_ce_oldest_seconds", "Age of the oldest Compositing Engine that the last sweep on this worker found and left.", "platform"),
		swept:       counter("imageport_sweep_findings_total", "Compositing Engines without a job that sweeps on this worker removed, or could not remove.", "platform", "outcome"),
		unreachable: gauge("imageport_sweep_unreachable_targets", "Places that the last sweep on this worker could not look at.").WithLabelValues(),
		lastSweep:   gauge("imageport_sweep_last_timestamp_seconds", "When the last sweep on this worker ended."),

		denials:  counter("imageport_gateway_denials_total", "Calls and enrolments that the gateway has denied.", "kind"),
		logged:   counter("imageport_log_records_total", "Records of the log.", "level"),
		lastPoll: gauge("imageport_last_poll_timestamp_seconds", "When Temporal last answered a poll of this worker or, before the first answer, when that was asked for."),

		codes: codeSet{seen: map[string]bool{}},
	}
}

func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	r.MustRegister(c)
	return c
}

// codeSet keeps failures from having any number of codes: they come from
// Compositing Engines, too.
type codeSet struct {
	mu   sync.Mutex
	seen map[string]bool
}

// maxCodes is more than there are.
const maxCodes = 200

var codeForm = regexp.MustCompile(`^[A-Z][A-Z0-9_]{1,39}$`)

// label is the code, or that of a defect where it is none.
func (c *codeSet) label(code string) string {
	if !codeForm.MatchString(code) {
		return string(job.Internal)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.seen[code] {
		if len(c.seen) == maxCodes {
			return string(job.Internal)
		}
		c.seen[code] = true
	}
	return code
}
