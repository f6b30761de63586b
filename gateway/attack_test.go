package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"imageport/engine/enrol"
	"imageport/gateway"
	"imageport/job/seed"
	"imageport/testkit/devserver"
)

// request makes a certificate request for a new key.
func request(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// ask enrols as somebody would who does not use our code.
func ask(t *testing.T, s seed.Seed, csr []byte) (reply enrol.EnrolReply, err error) {
	t.Helper()
	conn, err := grpc.NewClient(s.Gateway.Address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b, err := json.Marshal(enrol.EnrolRequest{Token: s.Gateway.Token, CSR: csr, Protocol: enrol.Protocol, Time: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	out := new(wrapperspb.BytesValue)
	if err := conn.Invoke(t.Context(), enrol.MethodEnrol, wrapperspb.Bytes(b), out); err != nil {
		return reply, err
	}
	return reply, json.Unmarshal(out.Value, &reply)
}

// Whoever has read the seed may be as quick as the CE: one key wins at most, and
// has nothing of it, because the job gives that CE up.
func TestEnrolmentRace(t *testing.T) {
	l := newLocation(t, nil)
	_, s := l.start("win10")
	sessions := make([]*enrol.Session, 8)
	var wg sync.WaitGroup
	for i := range sessions {
		wg.Go(func() {
			session, err := enrol.Open(t.Context(), s, quiet())
			if err == nil {
				sessions[i] = session
			} else if !strings.Contains(err.Error(), "was used already, with another key") && !strings.Contains(err.Error(), "has no Compositing Engine") {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	won := 0
	for _, session := range sessions {
		if session == nil {
			continue
		}
		won++
		if _, err := session.Credential(t.Context(), "files", "127.0.0.1"); err == nil {
			t.Error("the winner still gets credentials")
		}
		session.Close()
	}
	if won > 1 {
		t.Errorf("%d have enrolled", won)
	}
	if again := <-l.seeds; again.Name == s.Name {
		t.Error("the job goes on with the CE")
	}
}

// A job's history has an end: a CE must not be able to reach it.
func TestEnrolmentDoesNotFillTheHistory(t *testing.T) {
	l := newLocation(t, nil)
	run, s := l.start("win10")
	same := request(t)
	if _, err := ask(t, s, same); err != nil {
		t.Fatal(err)
	}
	length := func() int64 {
		d, err := l.client.DescribeWorkflowExecution(t.Context(), run.GetID(), run.GetRunID())
		if err != nil {
			t.Fatal(err)
		}
		return d.GetWorkflowExecutionInfo().GetHistoryLength()
	}
	before := length()
	for range 10 {
		if _, err := ask(t, s, same); err != nil {
			t.Fatalf("the same key again: %v", err)
		}
	}
	if grown := length() - before; grown > 3 {
		t.Errorf("10 calls have added %d events to the history", grown)
	}
	another := func() {
		if _, err := ask(t, s, request(t)); status.Code(err) != codes.PermissionDenied {
			t.Fatalf("another key: %v", err)
		}
	}
	another()
	<-l.seeds // the job makes another CE, once
	time.Sleep(time.Second)
	before = length()
	for range 10 {
		another()
	}
	if grown := length() - before; grown > 5 { // of the watch that has ended
		t.Errorf("10 calls with other keys have added %d events to the history", grown)
	}
}

// Jobs on one image have one workflow id. What a CE of the first has, is worth
// nothing to the second.
func TestSecondJobOnTheImage(t *testing.T) {
	l := newLocation(t, nil)
	run, old := l.start("win10")
	session := l.enrolled(old)
	mine, _ := l.temporal(session)
	task, err := poll(t.Context(), mine, seed.Queue(old.Name))
	if err != nil || len(task.GetTaskToken()) == 0 {
		t.Fatalf("no task: %v", err)
	}
	if err := l.client.TerminateWorkflow(t.Context(), run.GetID(), run.GetRunID(), "test"); err != nil {
		t.Fatal(err)
	}
	again, next := l.start("win10")
	if again.GetID() != run.GetID() || next.Name == old.Name {
		t.Fatalf("workflows %q and %q, CEs %s and %s", run.GetID(), again.GetID(), old.Name, next.Name)
	}
	says := "the job has no Compositing Engine"
	_, err = session.Credential(t.Context(), "files", "127.0.0.1")
	l.denied("the credential", err, says)
	_, err = enrol.Open(t.Context(), old, quiet())
	l.denied("the old token with a new key", err, says)
	mixed := old
	mixed.Name = next.Name
	_, err = enrol.Open(t.Context(), mixed, quiet())
	l.denied("the old token under the new name", err, says)
	_, err = poll(t.Context(), mine, seed.Queue(next.Name))
	l.denied("the new queue", err, "is not that of "+old.Name)
	_, err = mine.RespondActivityTaskCompleted(t.Context(), &workflowservice.RespondActivityTaskCompletedRequest{TaskToken: task.TaskToken})
	if status.Code(err) != codes.NotFound {
		t.Errorf("the task of before: %v", err)
	}
	l.enrolled(next)
}

// The CA vouches for CEs too, but not as gateways.
func TestCEIsNoGateway(t *testing.T) {
	l := newLocation(t, nil)
	_, first := l.start("win10")
	_, second := l.start("win11")
	session := l.enrolled(first)
	mine, err := session.TLS().GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", first.Gateway.Address, session.TLS())
	if err != nil {
		t.Fatal(err)
	}
	chain := conn.ConnectionState().PeerCertificates
	conn.Close()
	disguise := *mine
	disguise.Certificate = append(slices.Clone(mine.Certificate), chain[len(chain)-1].Raw) // the CA is no secret
	trap, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{disguise}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	var heard atomic.Int64
	go func() {
		for {
			conn, err := trap.Accept()
			if err != nil {
				return
			}
			n, _ := conn.Read(make([]byte, 100))
			heard.Add(int64(n))
			conn.Close()
		}
	}()
	bad := second
	bad.Gateway.Address, bad.Gateway.Patience = trap.Addr().String(), 5
	if _, err := enrol.Open(t.Context(), bad, quiet()); err == nil || !strings.Contains(err.Error(), "the gateway's certificate") {
		t.Errorf("got %v", err)
	}
	if heard.Load() > 0 {
		t.Errorf("the CE has said %d bytes", heard.Load())
	}
}

// What a CE puts beside its requests does not travel on, and what it may not
// know does not travel back.
func TestNothingTravelsAlong(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]string{}
	l := newLocation(t, func(c *gateway.Config) {
		var err error
		c.Client, err = client.Dial(client.Options{HostPort: devserver.Shared(t).Address, Namespace: devserver.Namespace,
			ConnectionOptions: client.ConnectionOptions{DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(
				func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
					md, _ := metadata.FromOutgoingContext(ctx)
					mu.Lock()
					for name, values := range md {
						seen[name] += strings.Join(values, ",") + ";"
					}
					mu.Unlock()
					return invoke(ctx, method, req, reply, cc, opts...)
				})}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Client.Close)
	})
	_, s := l.start("win10")
	c, _ := l.temporal(l.enrolled(s))
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer evil", "temporal-namespace", "evil", "x-forwarded-for", "evil", "caller-type", "evil")
	task, err := poll(ctx, c, seed.Queue(s.Name))
	if err != nil || len(task.GetTaskToken()) == 0 {
		t.Fatalf("no task: %v", err)
	}
	if _, err := c.RecordActivityTaskHeartbeat(ctx, &workflowservice.RecordActivityTaskHeartbeatRequest{Namespace: "evil", Identity: "evil", TaskToken: task.TaskToken}); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if said := fmt.Sprint(slices.Sorted(maps.Values(seen))); strings.Contains(said, "evil") || len(seen) == 0 {
		t.Errorf("the server was told %q", seen)
	}
	if task.WorkflowNamespace != "" {
		t.Errorf("the CE was told the namespace %q", task.WorkflowNamespace)
	}
}

// What is wrong behind the gateway is for the log, not for a CE.
func TestTemporalIsAway(t *testing.T) {
	l := newLocation(t, nil)
	_, s := l.start("win10")
	session := l.enrolled(s)
	const behind = "127.0.0.1:1"
	away, err := client.NewLazyClient(client.Options{HostPort: behind, Namespace: devserver.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	l.cfg.Client = away
	conn, err := grpc.NewClient(l.open().Addr(), grpc.WithTransportCredentials(credentials.NewTLS(session.TLS())))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := workflowservice.NewWorkflowServiceClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = c.GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{})
	if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded || strings.Contains(err.Error(), behind) {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(l.log.String(), "gateway: no answer") || !strings.Contains(l.log.String(), behind) {
		t.Errorf("the log does not say what is wrong:\n%s", l.log)
	}
}

// A defect in one call ends that call only.
func TestPanic(t *testing.T) {
	l := newLocation(t, func(c *gateway.Config) {
		c.Credential = func(context.Context, string) (enrol.CredentialReply, error) { panic("a defect") }
	})
	_, s := l.start("win10")
	session := l.enrolled(s)
	for range 2 {
		_, err := session.Credential(t.Context(), "files", "127.0.0.1")
		if err == nil || !strings.Contains(err.Error(), "has a defect") || strings.Contains(err.Error(), "a defect\n") {
			t.Errorf("got %v", err)
		}
	}
	if log := l.log.String(); !strings.Contains(log, "attack_test.go") || !strings.Contains(log, `panic="a defect"`) {
		t.Errorf("the log: %s", log)
	}
}

// A job that was reset has an empty ledger: it knows none of the keys of before.
func TestReset(t *testing.T) {
	l := newLocation(t, nil)
	run, s := l.start("win10")
	session := l.enrolled(s)
	history := l.client.GetWorkflowHistory(t.Context(), run.GetID(), run.GetRunID(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	var first int64
	for first == 0 && history.HasNext() {
		e, err := history.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e.GetEventType() == enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			first = e.GetEventId()
		}
	}
	reset, err := l.client.ResetWorkflowExecution(t.Context(), &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: devserver.Namespace, WorkflowExecution: &common.WorkflowExecution{WorkflowId: run.GetID(), RunId: run.GetRunID()}, Reason: "test", WorkflowTaskFinishEventId: first, RequestId: t.Name(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.client.TerminateWorkflow(context.Background(), run.GetID(), reset.GetRunId(), "the test is over")
	})
	select {
	case next := <-l.seeds:
		if next.Name != s.Name {
			t.Errorf("the job asks for %s after it has made %s", next.Name, s.Name)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the job asked for no CE")
	}
	_, err = session.Credential(t.Context(), "files", "127.0.0.1")
	l.denied("a certificate of before", err, "has not enrolled with this key")
}
