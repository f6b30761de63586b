package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"imageport/activities"
	"imageport/engine/convert"
	"imageport/engine/enrol"
	"imageport/gateway"
	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
	"imageport/testkit/devserver"
	"imageport/workflows"
)

// logged is a log that tests look into.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// location is a resource location whose worker runs the product's workflows and
// gateway. Its platform makes no CEs: the tests are the CEs.
type location struct {
	t       *testing.T
	client  client.Client
	queue   string
	log     *logged
	cfg     gateway.Config
	gateway *gateway.Gateway
	seeds   chan seed.Seed // of the CEs that jobs have asked for
}

func newLocation(t *testing.T, change func(*gateway.Config)) *location {
	t.Helper()
	l := &location{t: t, client: devserver.Start(t), queue: "gateway-" + strings.ReplaceAll(t.Name(), "/", "-"), log: new(logged), seeds: make(chan seed.Seed, 10)}
	key, err := gateway.LoadKey(filepath.Join(t.TempDir(), "gateway.key"))
	if err != nil {
		t.Fatal(err)
	}
	l.cfg = gateway.Config{
		Key: key, Listen: "127.0.0.1:0", Client: l.client, Namespace: devserver.Namespace, Log: slog.New(slog.NewTextHandler(l.log, nil)),
		Credential: func(_ context.Context, id string) (enrol.CredentialReply, error) {
			switch id {
			case "files":
				return enrol.CredentialReply{Username: "ips", Password: "s3cret", Domain: "d"}, nil
			case "sealed":
				return enrol.CredentialReply{}, errors.New("the vault is sealed")
			}
			return enrol.CredentialReply{}, job.Errorf(job.UnknownCredential, "Add it", "there is no credential %q", id)
		},
	}
	if change != nil {
		change(&l.cfg)
	}
	l.gateway = l.open()

	w := worker.New(l.client, l.queue, worker.Options{MaxHeartbeatThrottleInterval: durable.HeartbeatInterval})
	workflows.Register(w)
	l.platform(w)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return l
}

// open runs a gateway of the location until the test ends.
func (l *location) open() *gateway.Gateway {
	l.t.Helper()
	g, err := gateway.Listen(l.cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- g.Serve(ctx) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
	})
	return g
}

// platform takes the place of the worker's activities.
func (l *location) platform(w worker.Worker) {
	register := func(name string, f any) { w.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name}) }
	register("Preflight", func(context.Context, activities.PreflightInput) (convert.Admitted, error) {
		return convert.Admitted{Approval: convert.Approval{Output: "out.avhdx", PlanDigest: "plan"}}, nil
	})
	register("CreateCE", func(_ context.Context, in activities.CreateCEInput) (activities.CE, error) {
		invitation, err := l.gateway.Invite(gateway.Peer{CE: in.Name, Job: in.Job}, l.gateway.Addr(), 20*time.Second)
		if err == nil {
			l.seeds <- seed.Seed{Name: in.Name, Deadline: time.Now().Add(time.Minute), Gateway: invitation}
		}
		return activities.CE{EnrolWithin: 30 * time.Second}, err
	})
	register("WatchCE", func(ctx context.Context, _ activities.WatchCEInput) (activities.CEStopped, error) {
		for ctx.Err() == nil {
			activity.RecordHeartbeat(ctx)
			time.Sleep(100 * time.Millisecond)
		}
		return activities.CEStopped{}, ctx.Err()
	})
	register("DestroyCE", func(context.Context, activities.DestroyCEInput) error { return nil })
	register("Finish", func(context.Context, activities.FinishInput) error { return nil })
}

// start starts a job and gives the seed of its CE.
func (l *location) start(image string) (client.WorkflowRun, seed.Seed) {
	l.t.Helper()
	body := fmt.Sprintf(`{"platform":"local","resourceLocationId":%q,"platformCredentialId":"vcenter","inputStorageLocation":{"credentialId":"files","host":"127.0.0.1","port":1,"sharePath":"pvs"},
		"inputImageFilename":%q,"outputImageFilename":%q}`, l.queue, image, image+"-uefi")
	run, err := l.client.ExecuteWorkflow(l.t.Context(), client.StartWorkflowOptions{ID: "ips/" + l.queue + "/" + image, TaskQueue: l.queue},
		string(job.OpConvertToUEFI), json.RawMessage(body))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = l.client.TerminateWorkflow(context.Background(), run.GetID(), run.GetRunID(), "the test is over")
	})
	select {
	case s := <-l.seeds:
		return run, s
	case <-time.After(30 * time.Second):
		l.t.Fatal("the job asked for no CE")
	}
	panic("unreachable")
}

// status is how the job stands.
func (l *location) status(run client.WorkflowRun) (s job.Status) {
	l.t.Helper()
	answer, err := l.client.QueryWorkflow(l.t.Context(), run.GetID(), run.GetRunID(), durable.QueryStatus)
	if err == nil {
		err = answer.Get(&s)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// enrolled gives the session of a CE that has enrolled.
func (l *location) enrolled(s seed.Seed) *enrol.Session {
	l.t.Helper()
	session, err := enrol.Open(l.t.Context(), s, quiet())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { session.Close() })
	return session
}

// denied checks that err says so, and so does the gateway's log.
func (l *location) denied(what string, err error, says string) {
	l.t.Helper()
	if err == nil || !strings.Contains(err.Error(), says) {
		l.t.Errorf("%s: %v; want %q", what, err, says)
	}
	if !strings.Contains(l.log.String(), says) {
		l.t.Errorf("%s: the log does not say %q", what, says)
	}
}
