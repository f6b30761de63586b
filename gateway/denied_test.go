package gateway_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"imageport/engine/enrol"
	"imageport/gateway"
	"imageport/job"
	"imageport/job/seed"
	"imageport/testkit/devserver"
)

func short(life time.Duration) func(*gateway.Config) {
	return func(c *gateway.Config) { c.CertificateLife = life }
}

// temporal gives a plain client of Temporal's service over the session.
func (l *location) temporal(s *enrol.Session) (workflowservice.WorkflowServiceClient, *grpc.ClientConn) {
	l.t.Helper()
	conn, err := grpc.NewClient(s.Address(), grpc.WithTransportCredentials(credentials.NewTLS(s.TLS())))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	return workflowservice.NewWorkflowServiceClient(conn), conn
}

func poll(ctx context.Context, c workflowservice.WorkflowServiceClient, queue string) (*workflowservice.PollActivityTaskQueueResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return c.PollActivityTaskQueue(ctx, &workflowservice.PollActivityTaskQueueRequest{
		Namespace: "whatever", TaskQueue: &taskqueue.TaskQueue{Name: queue, Kind: enums.TASK_QUEUE_KIND_NORMAL}, Identity: "somebody else",
	})
}

// Of all methods of Temporal's service, a CE may call nine.
func TestOnlyAnActivityWorkersCalls(t *testing.T) {
	l := newLocation(t, nil)
	_, s := l.start("win10")
	_, conn := l.temporal(l.enrolled(s))
	may := map[string]bool{
		"GetSystemInfo": true, "DescribeNamespace": true, "PollActivityTaskQueue": true, "RecordActivityTaskHeartbeat": true, "RespondActivityTaskCompleted": true,
		"RespondActivityTaskFailed": true, "RespondActivityTaskCanceled": true, "RecordWorkerHeartbeat": true, "ShutdownWorker": true,
	}
	methods := 0
	for _, m := range workflowservice.WorkflowService_ServiceDesc.Methods {
		if may[m.MethodName] {
			continue
		}
		methods++
		full := "/temporal.api.workflowservice.v1.WorkflowService/" + m.MethodName
		err := conn.Invoke(t.Context(), full, &emptypb.Empty{}, &emptypb.Empty{})
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", m.MethodName, err)
		}
		if !strings.Contains(l.log.String(), "method="+full) {
			t.Errorf("%s: not logged", m.MethodName)
		}
	}
	if methods < 50 {
		t.Errorf("only %d methods were tried", methods)
	}
	for _, full := range []string{
		"/temporal.api.operatorservice.v1.OperatorService/ListSearchAttributes", "/temporal.server.api.adminservice.v1.AdminService/DescribeMutableState",
		"/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/imageport.ce.v1.Gateway/Secrets",
	} {
		err := conn.Invoke(t.Context(), full, &emptypb.Empty{}, &emptypb.Empty{})
		l.denied(full, err, "no Compositing Engine may call "+full)
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, full)
		if err == nil {
			err = stream.RecvMsg(&emptypb.Empty{})
		}
		l.denied("a stream of "+full, err, "no Compositing Engine may call "+full)
	}
}

func TestTasks(t *testing.T) {
	l := newLocation(t, nil)
	_, first := l.start("win10")
	_, second := l.start("win11")
	mine, _ := l.temporal(l.enrolled(first))
	others, _ := l.temporal(l.enrolled(second))

	for _, queue := range []string{seed.Queue(second.Name), l.queue, "", seed.Queue(first.Name) + "/"} {
		_, err := poll(t.Context(), mine, queue)
		l.denied("polling "+queue, err, "is not that of "+first.Name)
	}
	task, err := poll(t.Context(), mine, seed.Queue(first.Name))
	if err != nil || task.GetActivityType().GetName() != "Compose" {
		t.Fatalf("got %v, %v", task, err)
	}
	complete := func(c workflowservice.WorkflowServiceClient, token []byte) error {
		_, err := c.RespondActivityTaskCompleted(t.Context(), &workflowservice.RespondActivityTaskCompletedRequest{TaskToken: token})
		return err
	}
	forged := append(make([]byte, 32), task.TaskToken[32:]...)
	flipped := append([]byte{}, task.TaskToken...)
	flipped[len(flipped)-1] ^= 1
	for what, token := range map[string][]byte{"no token": nil, "the server's own token": task.TaskToken[32:], "a forged token": forged, "a changed token": flipped, "half a token": task.TaskToken[:20]} {
		l.denied(what, complete(mine, token), "is not one that "+first.Name+" was given")
	}
	l.denied("another's token", complete(others, task.TaskToken), "is not one that "+second.Name+" was given")
	for what, call := range map[string]func() error{
		"heartbeat": func() error {
			_, err := others.RecordActivityTaskHeartbeat(t.Context(), &workflowservice.RecordActivityTaskHeartbeatRequest{TaskToken: task.TaskToken})
			return err
		},
		"failure": func() error {
			_, err := others.RespondActivityTaskFailed(t.Context(), &workflowservice.RespondActivityTaskFailedRequest{TaskToken: task.TaskToken})
			return err
		},
		"cancellation": func() error {
			_, err := others.RespondActivityTaskCanceled(t.Context(), &workflowservice.RespondActivityTaskCanceledRequest{TaskToken: task.TaskToken})
			return err
		},
	} {
		l.denied("another's "+what, call(), "is not one that "+second.Name+" was given")
	}
	_, err = mine.RecordActivityTaskHeartbeat(t.Context(), &workflowservice.RecordActivityTaskHeartbeatRequest{TaskToken: task.TaskToken,
		Details: &common.Payloads{Payloads: []*common.Payload{{Data: make([]byte, 17<<10)}}}})
	l.denied("a big heartbeat", err, "the limit is 16384")
	if err := complete(mine, task.TaskToken); err != nil {
		t.Errorf("the task's own token: %v", err)
	}
	if err := complete(mine, task.TaskToken); status.Code(err) != codes.NotFound {
		t.Errorf("a replayed token: %v", err)
	}
}

func TestSecondEnrolment(t *testing.T) {
	l := newLocation(t, nil)
	run, s := l.start("win10")
	l.enrolled(s)
	_, err := enrol.Open(t.Context(), s, quiet())
	l.denied("a second key", err, "was used already, with another key")
	// Nobody knows which of the two is the CE: the job makes another, and says why.
	select {
	case again := <-l.seeds:
		l.enrolled(again)
		if again.Name == s.Name {
			t.Error("the same CE again")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the job goes on with the CE")
	}
	if warnings := strings.Join(l.status(run).Warnings, "\n"); !strings.Contains(warnings, "its token was used with two keys") {
		t.Errorf("the job says %q", warnings)
	}

	_, other := l.start("win11")
	mixed := s
	mixed.Gateway.Token = other.Gateway.Token // the token counts, not the name that the CE gives itself
	session, err := enrol.Open(t.Context(), mixed, quiet())
	if err != nil {
		t.Fatal(err)
	}
	c, _ := l.temporal(session)
	_, err = poll(t.Context(), c, seed.Queue(s.Name))
	l.denied("the queue of another job", err, "is not that of "+other.Name)

	if err := l.client.TerminateWorkflow(t.Context(), run.GetID(), run.GetRunID(), "test"); err != nil {
		t.Fatal(err)
	}
	_, err = enrol.Open(t.Context(), s, quiet())
	l.denied("a job that has ended", err, "does not run")
}

func TestTokens(t *testing.T) {
	l := newLocation(t, nil)
	_, s := l.start("win10")
	key, err := gateway.LoadKey(filepath.Join(t.TempDir(), "other.key"))
	if err != nil {
		t.Fatal(err)
	}
	foreign := l.cfg
	foreign.Key = key
	impostor, err := gateway.Listen(foreign)
	if err != nil {
		t.Fatal(err)
	}
	defer impostor.Close()
	invitation := func(g *gateway.Gateway) string {
		in, err := g.Invite(gateway.Peer{CE: s.Name, Job: "ips/" + l.queue + "/win10"}, "x:1", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return in.Token
	}
	good := invitation(l.gateway)
	for what, token := range map[string]string{
		"made with another key": invitation(impostor), "cut": good[:len(good)-4], "changed": "A" + good[1:], "no base64": "%%%", "short": "AAAA",
	} {
		bad := s
		bad.Gateway.Token = token
		_, err := enrol.Open(t.Context(), bad, quiet())
		l.denied(what, err, "was not made by this installation's workers")
	}
	l.cfg.Now = func() time.Time { return time.Now().Add(3 * time.Hour) }
	late := l.open()
	old := s
	old.Gateway.Address = late.Addr()
	_, err = enrol.Open(t.Context(), old, quiet())
	l.denied("expired", err, "it has expired")
}

func TestExpiredCertificate(t *testing.T) {
	var later atomic.Int64
	l := newLocation(t, func(c *gateway.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	_, s := l.start("win10")
	session := l.enrolled(s)
	open, _ := l.temporal(session)
	if _, err := open.GetSystemInfo(t.Context(), &workflowservice.GetSystemInfoRequest{}); err != nil {
		t.Fatal(err)
	}
	later.Store(int64(61 * time.Minute))
	_, err := open.GetSystemInfo(t.Context(), &workflowservice.GetSystemInfoRequest{})
	l.denied("a connection of before", err, "its certificate expired at")
	fresh, _ := l.temporal(session)
	_, err = fresh.GetSystemInfo(t.Context(), &workflowservice.GetSystemInfoRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a new connection: %v", err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 2*time.Second) // it would try for longer
	defer cancel()
	if _, err := session.Credential(soon, "files", "127.0.0.1"); err == nil {
		t.Error("it still gets a credential")
	}
}

func TestNoCertificate(t *testing.T) {
	l := newLocation(t, nil)
	_, s := l.start("win10")
	session := l.enrolled(s)
	config := session.TLS()
	config.GetClientCertificate = nil
	conn, err := grpc.NewClient(s.Gateway.Address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = workflowservice.NewWorkflowServiceClient(conn).GetSystemInfo(t.Context(), &workflowservice.GetSystemInfoRequest{})
	l.denied("no certificate", err, "it shows no certificate")
	for _, method := range []string{enrol.MethodRenew, enrol.MethodCredential} {
		if err := conn.Invoke(t.Context(), method, &emptypb.Empty{}, &emptypb.Empty{}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	l := newLocation(t, nil)
	run, s := l.start("win10")
	session := l.enrolled(s)
	if c, err := session.Credential(t.Context(), "files", "127.0.0.1"); err != nil || c.Username != "ips" || c.Password != "s3cret" {
		t.Errorf("the job's share: %q, %v", c.Username, err)
	}
	for _, id := range []string{"vcenter", "sealed", "other", "", "FILES"} {
		_, err := session.Credential(t.Context(), id, "127.0.0.1")
		l.denied(id, err, "names no share with credential")
	}
	if err := l.client.CancelWorkflow(t.Context(), run.GetID(), run.GetRunID()); err != nil {
		t.Fatal(err)
	}
	_ = run.Get(t.Context(), nil)
	_, err := session.Credential(t.Context(), "files", "127.0.0.1")
	l.denied("a job that has ended", err, "does not run")
}

// A credential that names hosts is given for no other, whoever asks.
func TestCredentialHosts(t *testing.T) {
	l := newLocation(t, func(c *gateway.Config) {
		c.Credential = func(context.Context, string) (enrol.CredentialReply, error) {
			return enrol.CredentialReply{Username: "ips", Password: "s3cret", Hosts: job.Hosts{"files.example.com", "10.0.0.0/8"}}, nil
		}
	})
	_, s := l.start("win10")
	session := l.enrolled(s)
	for _, host := range []string{"FILES.example.com", "10.7.7.7"} {
		c, err := session.Credential(t.Context(), "files", host)
		if err != nil || c.Password != "s3cret" || len(c.Hosts) != 2 {
			t.Errorf("%s: %q, %v", host, c.Username, err)
		}
	}
	// "" is what an agent of an earlier release says.
	for _, host := range []string{"evil.example.com", "127.0.0.1", ""} {
		c, err := session.Credential(t.Context(), "files", host)
		if job.CodeOf(err) != job.CredentialNotForHost || c.Password != "" {
			t.Errorf("%q: %v", host, err)
		}
		if says := fmt.Sprintf("is not for the host %q", host); !strings.Contains(strings.ReplaceAll(l.log.String(), `\"`, `"`), says) {
			t.Errorf("the log does not say %q", says)
		}
	}
	if strings.Contains(l.log.String(), "s3cret") {
		t.Error("the log holds a secret")
	}
}

// What the wallet says reaches the job with its code.
func TestWalletRefuses(t *testing.T) {
	l := newLocation(t, func(c *gateway.Config) {
		c.Credential = func(context.Context, string) (enrol.CredentialReply, error) {
			return enrol.CredentialReply{}, job.Errorf(job.UnknownCredential, "Add it", "there is no credential")
		}
	})
	_, s := l.start("win10")
	_, err := l.enrolled(s).Credential(t.Context(), "files", "127.0.0.1")
	if job.CodeOf(err) != job.UnknownCredential || err.Error() != "there is no credential. Add it" {
		t.Errorf("got %v", err)
	}
}

// What a CE says when it cannot enrol.
func TestWhyNot(t *testing.T) {
	l := newLocation(t, nil)
	_, s := l.start("win10")
	for what, tc := range map[string]struct {
		spoil func(*seed.Seed)
		says  string
	}{
		"nobody there": {func(s *seed.Seed) { s.Gateway.Address = "127.0.0.1:1" }, "the gateway 127.0.0.1:1 cannot be reached"},
		"no such name": {func(s *seed.Seed) { s.Gateway.Address = "no-such-host.invalid:1" }, "cannot be reached"},
		"wrong CA":     {func(s *seed.Seed) { s.Gateway.CA = strings.Repeat("0", 64) }, "is not the gateway of this Compositing Engine: its CA has the SHA-256"},
		"no gateway":   {func(s *seed.Seed) { s.Gateway.Address = devserver.Shared(t).Address }, "cannot be reached"},
	} {
		bad := s
		bad.Gateway.Patience = 3
		tc.spoil(&bad)
		begin := time.Now()
		_, err := enrol.Open(t.Context(), bad, quiet())
		if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), s.Gateway.Token) {
			t.Errorf("%s: %v; want %q", what, err, tc.says)
		}
		if d := time.Since(begin); d > 15*time.Second {
			t.Errorf("%s: it took %v", what, d)
		}
	}
}

func TestClock(t *testing.T) {
	for what, off := range map[string]time.Duration{"ahead": 24 * time.Hour, "behind": -24 * time.Hour} {
		t.Run(what, func(t *testing.T) {
			l := newLocation(t, func(c *gateway.Config) { c.Now = func() time.Time { return time.Now().Add(off) } })
			_, s := l.start("win10")
			_, err := enrol.Open(t.Context(), s, quiet())
			if err == nil || !strings.Contains(err.Error(), "set the clock of the machine") || !strings.Contains(err.Error(), "24h0m") {
				t.Errorf("got %v", err)
			}
		})
	}
}
