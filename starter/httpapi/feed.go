package httpapi

import (
	"context"
	"net/http"
	"sync"

	"imageport/job"
	"imageport/starter"
)

// feeds are the jobs that somebody follows. Each is watched once, for all who
// follow it.
type feeds struct {
	live context.Context
	jobs *starter.Client
	mu   sync.Mutex
	open map[string]*feed // by run id
}

// feed is what is known of one job, as it changes.
type feed struct {
	of      *feeds
	stop    context.CancelFunc
	readers int
	job     *Job // nil before the first look
	tag     string
	failed  error         // why there is no more to come
	changed chan struct{} // closed when any of these has changed
}

// follow joins those who follow a job that the principal may see. leave must be
// called.
func (s *Server) follow(ctx context.Context, id string) (f *feed, leave func(), err error) {
	status, err := s.glance(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	select {
	case s.streams <- struct{}{}:
	default:
		return nil, nil, problemOf(job.Errorf(job.TooManyRequests, "Try again later, or ask without wait", "%d requests wait for changes of jobs already", s.MaxStreams), func(error) {})
	}
	f = s.feeds.join(status.RunID)
	return f, func() {
		s.feeds.leave(status.RunID, f)
		<-s.streams
	}, nil
}

func (x *feeds) join(run string) *feed {
	x.mu.Lock()
	defer x.mu.Unlock()
	if f := x.open[run]; f != nil && f.failed == nil {
		f.readers++
		return f
	}
	ctx, stop := context.WithCancel(x.live)
	f := &feed{of: x, stop: stop, readers: 1, changed: make(chan struct{})}
	x.open[run] = f
	go f.watch(ctx, run)
	return f
}

func (x *feeds) leave(run string, f *feed) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if f.readers--; f.readers == 0 {
		f.stop()
		if x.open[run] == f {
			delete(x.open, run)
		}
	}
}

// watch follows the job until it has ended, or nobody is interested any more.
func (f *feed) watch(ctx context.Context, run string) {
	for status, err := range f.of.jobs.Watch(ctx, run) {
		f.of.mu.Lock()
		if f.failed = err; err == nil {
			j := jobOf(status)
			f.job, f.tag = &j, etag(j)
		}
		close(f.changed)
		f.changed = make(chan struct{})
		f.of.mu.Unlock()
	}
}

func (f *feed) state() (j *Job, tag string, changed <-chan struct{}, failed error) {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	return f.job, f.tag, f.changed, f.failed
}

// next gives the job when its ETag is another one than after, or when it has
// ended.
func (f *feed) next(ctx context.Context, after string) (Job, error) {
	for {
		j, tag, changed, failed := f.state()
		switch {
		case j != nil && (tag != after || j.State != job.StateRunning):
			return *j, nil
		case failed != nil && f.of.live.Err() != nil:
			return Job{}, stopping()
		case failed != nil:
			return Job{}, failed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Job{}, ctx.Err()
		case <-f.of.live.Done():
			return Job{}, stopping()
		}
	}
}

// last gives the job as it was seen last.
func (f *feed) last(ctx context.Context) (Job, error) {
	if j, _, _, _ := f.state(); j != nil {
		return *j, nil
	}
	return f.next(ctx, "") // the time was over before the first look
}

func stopping() error {
	p := problem(http.StatusServiceUnavailable, job.TemporalUnreachable, "Ask again", "the server is being stopped")
	p.headers = http.Header{"Retry-After": {"1"}}
	return p
}
