package gateway_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"imageport/engine/agent"
	"imageport/engine/enrol"
	"imageport/gateway"
	"imageport/job"
	"imageport/job/durable"
)

// The product's own agent gets through, does all that an activity worker does,
// and is denied nothing: a Temporal SDK that calls something new fails here.
func TestAgent(t *testing.T) {
	l := newLocation(t, nil)
	run, s := l.start("win10")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	said := new(logged)
	served := make(chan error, 1)
	go func() { served <- agent.Serve(ctx, s, nil, slog.New(slog.NewTextHandler(said, nil))) }()

	// It says hello, and fails to compose: nobody is at port 1.
	if err := run.Get(t.Context(), nil); durable.FromFailure(err).Code != job.ShareUnreachable {
		t.Errorf("the job: %v\nagent: %s", err, said)
	}
	if strings.Contains(l.log.String(), "denied") {
		t.Errorf("the gateway denied something:\n%s", l.log)
	}
	if !strings.Contains(l.log.String(), "credential handed out") {
		t.Error("no credential was asked for")
	}
	for what, text := range map[string]string{"gateway": l.log.String(), "agent": said.String()} {
		if strings.Contains(text, "s3cret") || strings.Contains(text, s.Gateway.Token) {
			t.Errorf("the %s's log holds a secret:\n%s", what, text)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("agent: %v", err)
	}
}

// A CE whose job has ended is told at its next renewal, and ends.
func TestAgentEndsWithItsJob(t *testing.T) {
	l := newLocation(t, func(c *gateway.Config) {
		c.CertificateLife = 3 * time.Second
		c.Credential = func(context.Context, string) (enrol.CredentialReply, error) {
			return enrol.CredentialReply{}, job.Errorf(job.UnknownCredential, "Add it", "there is no credential")
		}
	})
	run, s := l.start("win10")
	served := make(chan error, 1)
	go func() { served <- agent.Serve(t.Context(), s, nil, quiet()) }()
	if err := run.Get(t.Context(), nil); err == nil {
		t.Error("the job succeeded")
	}
	select {
	case err := <-served:
		l.denied("renewal", err, "does not run")
	case <-time.After(20 * time.Second):
		t.Error("the agent goes on")
	}
}

// The certificate is renewed under way, and any gateway with the key serves the CE.
func TestRenewalAndRestart(t *testing.T) {
	const life = 3 * time.Second
	l := newLocation(t, short(life))
	_, s := l.start("win10")
	session := l.enrolled(s)
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan error, 1)
	go func() { kept <- session.Keep(ctx) }()
	l.cfg.Listen = l.gateway.Addr()
	l.open() // a second worker on the port: the kernel chooses one of them for each connection
	for end := time.Now().Add(2 * life); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if c, err := session.Credential(t.Context(), "files", "127.0.0.1"); err != nil || c.Password != "s3cret" || c.Domain != "d" {
			t.Fatalf("got %q, %v", c.Username, err)
		}
	}
	cancel()
	if err := <-kept; err != nil {
		t.Error(err)
	}
}
