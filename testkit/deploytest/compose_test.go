package deploytest

import (
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"imageport/testkit/devserver"
)

var pinned = regexp.MustCompile(`:v?\d+\.\d+(\.\d+)?$`)

// What compose-go reads is what we mean, and what nobody should have to look for.
func TestCompose(t *testing.T) {
	if _, err := Load(t.Context(), root); err == nil || !strings.Contains(err.Error(), "RESOURCE_LOCATION") {
		t.Errorf("without a resource location: %v", err)
	}
	p, err := Load(t.Context(), root, "RESOURCE_LOCATION=5f3b")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for name, s := range p.Services {
		if s.Build == nil && !pinned.MatchString(s.Image) {
			t.Errorf("%s: image %q has no tag of a release", name, s.Image)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open on %q", name, port.Published, port.HostIP)
			}
		}
		if s.Privileged || s.NetworkMode == "host" || s.Pid != "" {
			t.Errorf("%s has more rights than a container has", name)
		}
		oneShot := strings.HasPrefix(s.Restart, "on-failure:")         // not for ever: somebody waits for it
		if !oneShot && s.HealthCheck == nil && name != "temporal-ui" { // whose image has no program to ask with
			t.Errorf("%s has no health check", name)
		}
		if !oneShot && s.Restart != "unless-stopped" {
			t.Errorf("%s does not come back after a crash", name)
		}
		if h := s.HealthCheck; h != nil && (h.Timeout == nil || h.Interval == nil || h.StartPeriod == nil) {
			t.Errorf("%s: the health check has no times", name)
		}
		if s.Logging == nil || s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "" {
			t.Errorf("the logs of %s grow for ever", name)
		}
		for key, value := range s.Environment {
			if value != nil && regexp.MustCompile(`(?i)passw|secret|_pwd|token|api_key`).MatchString(key) && !strings.HasPrefix(*value, "/run/secrets/") {
				t.Errorf("%s: %s has a secret in it", name, key)
			}
		}
		for _, secret := range s.Secrets {
			used[secret.Source] = true
		}
		for on, how := range s.DependsOn {
			other := p.Services[on]
			if how.Condition == types.ServiceConditionHealthy && other.HealthCheck == nil {
				t.Errorf("%s waits for the health of %s, which has no check", name, on)
			}
			if (how.Condition == types.ServiceConditionCompletedSuccessfully) != strings.HasPrefix(other.Restart, "on-failure:") {
				t.Errorf("%s waits for %s to be %s", name, on, how.Condition)
			}
		}
		if s.Build != nil {
			if !s.ReadOnly || len(s.CapDrop) != 1 || s.CapDrop[0] != "ALL" || len(s.SecurityOpt) == 0 {
				t.Errorf("%s is not closed", name)
			}
			if _, err := os.Stat(filepath.Join(root, s.Build.Dockerfile)); err != nil {
				t.Error(err)
			}
		}
	}
	for name := range p.Secrets {
		if !used[name] {
			t.Errorf("nobody has the secret %s", name)
		}
	}
	gateway, err := Load(t.Context(), root, "RESOURCE_LOCATION=5f3b", "GATEWAY_ADDRESS=192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	if got := gateway.Services["worker"].Ports[0]; got.HostIP != "192.0.2.1" || got.Target != 7443 {
		t.Errorf("the gateway is at %+v", got)
	}
}

// The worker and the API of the compose file do a job, with a real Temporal dev
// server, whose namespace the file's own script makes.
func TestComposeRuns(t *testing.T) {
	location := uuid.NewString()
	h := newHost(t, location)
	h.Stand(devserver.Shared(t).Address, "temporal:7233")
	for range 2 { // it may run again
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := h.Run(ctx, "temporal-namespace"); err != nil {
			t.Fatal(err)
		}
	}
	worker := trial(t, h, location)

	// A stranger at the gateway is denied, and counted: the metric goes by the log.
	stranger, err := grpc.NewClient(h.address("0.0.0.0:7443"), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := stranger.Invoke(t.Context(), "/nobody.Knows/It", &emptypb.Empty{}, &emptypb.Empty{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the gateway says %v", err)
	}

	metrics := scrape(t, "http://"+h.address("127.0.0.1:9464")+"/metrics")
	if !strings.Contains(metrics, `imageport_jobs_ended_total{code="",operation="convertToUefi",platform="local",state="completed"} 1`) {
		t.Error("the job is not counted")
	}
	if !strings.Contains(metrics, `imageport_gateway_denials_total{kind="call"} 1`) {
		t.Error("what the gateway denies is not counted")
	}
	unknownNames(t, metrics)
	if err := worker.Down(); err != nil {
		t.Errorf("the worker ended with %v:\n%s", err, worker.Log())
	}
	if err := worker.Healthy(t.Context()); err == nil {
		t.Error("a worker that has ended is well")
	}
	// What it wrote is JSON, a record a line.
	text, err := os.ReadFile(filepath.Join(h.Dir, "worker.log"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, `{"time":"`) {
			t.Errorf("in the log: %s", line)
		}
	}
	if answer, err := http.Get("http://" + h.address("127.0.0.1:9464") + "/metrics"); err == nil {
		answer.Body.Close()
		t.Error("metrics outlive the worker")
	}
}
