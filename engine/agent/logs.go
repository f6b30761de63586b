package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"imageport/job"
)

// maxLogJSON bounds a log as it is handed over, in bytes of JSON: the gateway
// lets no long results pass.
const maxLogJSON = 128 << 10

// Journal keeps the end of what the agent logs, for the job: the machine that it
// is in will soon be gone. It may be used concurrently.
type Journal struct {
	mu      sync.Mutex
	tail    job.Tail
	secrets job.Secrets
	own     *slog.Logger
}

// NewJournal makes an empty Journal.
func NewJournal() *Journal {
	j := new(Journal)
	j.own = slog.New(slog.NewTextHandler(j, nil))
	return j
}

// Write adds lines. It implements io.Writer for a handler of logs.
func (j *Journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range bytes.Lines(p) {
		j.tail.Add(string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	return len(p), nil
}

// Beside gives a logger that writes to the journal what log writes elsewhere.
func (j *Journal) Beside(log *slog.Logger) *slog.Logger {
	return slog.New(slog.NewMultiHandler(log.Handler(), j.own.Handler()))
}

// Conceal keeps a secret out of what is handed over, also of what was logged
// before.
func (j *Journal) Conceal(secret string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.secrets.Add(secret)
}

// log gives what there is, redacted.
func (j *Journal) log() job.Log {
	j.mu.Lock()
	defer j.mu.Unlock()
	log := j.tail.Log(job.LogCE, "")
	log.Text = j.secrets.Redact(log.Text)
	for {
		b, err := json.Marshal(log.Text)
		if err == nil && len(b) <= maxLogJSON {
			return log
		}
		half := len(log.Text) / 2
		log.OmittedBytes += int64(half)
		log.Text = log.Text[half:]
	}
}

// HandOverLog gives the end of the log of this agent. It changes nothing.
func (e *Engine) HandOverLog(context.Context) (job.Log, error) {
	if e.Journal == nil {
		return job.Log{}, nil
	}
	return e.Journal.log(), nil
}

// noting is an interceptor that notes in the journal what the agent does: that
// would be too much for the console, where the last line has to say why a machine
// gave up.
type noting struct {
	interceptor.WorkerInterceptorBase
	journal *Journal
}

// InterceptActivity implements interceptor.WorkerInterceptor.
func (n *noting) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	in := &noted{log: n.journal.own}
	in.Next = next
	return in
}

// noted is an activity whose beginning and end are noted.
type noted struct {
	interceptor.ActivityInboundInterceptorBase
	log *slog.Logger
}

// ExecuteActivity implements interceptor.ActivityInboundInterceptor.
func (n *noted) ExecuteActivity(ctx context.Context, input *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	log := n.log.With("activity", info.ActivityType.Name, "attempt", info.Attempt)
	log.Info("begins")
	began := time.Now()
	result, err := n.Next.ExecuteActivity(ctx, input)
	log = log.With("took", time.Since(began).Round(time.Millisecond))
	switch {
	case err == nil:
		log.Info("is done")
	case ctx.Err() != nil:
		log.Info("was told to stop", "error", err)
	default:
		log.Warn("has failed", "code", job.CodeOf(err), "error", err)
	}
	return result, err
}
