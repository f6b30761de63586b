package rig

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"

	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/proxy"
	"imageport/testkit/site"
)

// Rig is a site with a worker. Door leads to its share.
type Rig struct {
	*site.Site
	Door *proxy.Proxy
}

// Run calls f with a rig. The options need no Temporal server; without a program,
// it is the one that make build has made.
func Run(ctx context.Context, o site.Options, f func(*Rig) error) (err error) {
	if o.Program == "" {
		o.Program = "bin/imageport"
	}
	if o.Program, err = filepath.Abs(o.Program); err != nil {
		return err
	}
	if o.Temporal, err = devserver.Run(ctx, devserver.Options{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Temporal.Stop()) }()
	s, err := site.Start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	worker, err := s.StartWorker(ctx)
	if err != nil {
		return err
	}
	defer worker.Stop()
	door, err := proxy.Start(s.Samba.Addr())
	if err != nil {
		return err
	}
	defer door.Stop()
	return f(&Rig{Site: s, Door: door})
}

// Request is the specification's request for an operation, as change leaves it, of
// a share at that port of this machine.
func (r *Rig) Request(op job.Operation, port int, change func(body map[string]any)) ([]byte, error) {
	printed, err := os.ReadFile(filepath.Join("job/testdata", string(op)+".json"))
	if err != nil {
		return nil, err
	}
	return r.Body(printed, func(body map[string]any) {
		body["inputStorageLocation"].(map[string]any)["port"] = port
		change(body)
	})
}

// Job is one that has completed.
type Job struct {
	ID, Run        string
	Wall           time.Duration // from its start to the end that the client saw
	Received, Sent int64         // bytes that went through the door meanwhile, headers of SMB included
	Result         job.Result
}

// Do runs a job.
func (r *Rig) Do(ctx context.Context, op job.Operation, body []byte) (Job, error) {
	received, sent, began := r.Door.Bytes(proxy.Down), r.Door.Bytes(proxy.Up), time.Now()
	started, err := r.Jobs.Start(ctx, op, body)
	if err != nil {
		return Job{}, err
	}
	result, err := r.Jobs.Result(ctx, started.RunID)
	return Job{
		ID: started.JobID, Run: started.RunID, Wall: time.Since(began), Result: result,
		Received: r.Door.Bytes(proxy.Down) - received, Sent: r.Door.Bytes(proxy.Up) - sent,
	}, err
}

// Events are those of a job's history, in their order, up to an error.
func Events(ctx context.Context, s *site.Site, j Job) iter.Seq2[*history.HistoryEvent, error] {
	return func(yield func(*history.HistoryEvent, error) bool) {
		events := s.Temporal.Client().GetWorkflowHistory(ctx, j.ID, j.Run, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			if e, err := events.Next(); !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Engines are the processes of the site's Compositing Engines.
func (r *Rig) Engines() ([]int, error) {
	return Processes(func(line, _ string) bool { return strings.Contains(line, "\x00"+r.State()+"/") })
}

// Processes are those whose command line and environment are as wanted: words with
// a NUL behind each. One that ends meanwhile is none.
func Processes(wanted func(line, env string) bool) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		env, envErr := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if errors.Join(err, envErr) == nil && wanted(string(line), string(env)) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
