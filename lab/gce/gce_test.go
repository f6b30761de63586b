package gce_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"imageport/lab/gce"
)

// site is a cloud with a client that knows nothing but HTTP.
type site struct {
	*gce.Cloud
	t      *testing.T
	client *http.Client
}

func start(t *testing.T, cfg gce.Config) *site {
	t.Helper()
	cfg.Dir = t.TempDir()
	c, err := gce.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	account, err := google.JWTConfigFromJSON(c.KeyJSON(), "scope")
	if err != nil {
		t.Fatal(err)
	}
	return &site{c, t, oauth2.NewClient(t.Context(), account.TokenSource(t.Context()))}
}

const zone = "lab-north1-a"

// call makes a call of Compute Engine, and gives the answer's status and fields.
func (s *site) call(method, path, body string) (int, map[string]any) {
	s.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/compute/v1/projects/imageport-lab/" + path
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.URL()+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	var fields map[string]any
	if len(b) > 0 {
		if err := json.Unmarshal(b, &fields); err != nil {
			s.t.Fatalf("%s: %v", b, err)
		}
	}
	return res.StatusCode, fields
}

// run makes a call that starts an operation, and gives the codes of its errors.
func (s *site) run(method, path, body string) string {
	s.t.Helper()
	status, op := s.call(method, path, body)
	if status != http.StatusOK {
		return fmt.Sprint(status, reason(op))
	}
	where := "global"
	if op["zone"] != nil {
		where = "zones/" + zone
	}
	for op["status"] != "DONE" {
		_, op = s.call("POST", where+"/operations/"+op["name"].(string)+"/wait", "")
	}
	if failed, ok := op["error"].(map[string]any); ok {
		return failed["errors"].([]any)[0].(map[string]any)["code"].(string)
	}
	return ""
}

func reason(answer map[string]any) string {
	e, ok := answer["error"].(map[string]any)
	if !ok {
		return ""
	}
	return " " + e["errors"].([]any)[0].(map[string]any)["reason"].(string)
}

func (s *site) want(what, got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s gives %q; want %q", what, got, want)
	}
}

// withImage makes the image "ce" of a disk with some content.
func (s *site) withImage() *site {
	s.t.Helper()
	if err := s.MakeImage("ce", "family", tarball(s.t, "content")); err != nil {
		s.t.Fatal(err)
	}
	return s
}

// tarball is one with a disk of 1 GiB that begins with content.
func tarball(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(disk, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 1<<30); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "image.tar.gz")
	if out, err := exec.Command("tar", "--format=oldgnu", "-Sczf", path, "-C", dir, "disk.raw").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	return path
}

// instance is the body that makes one, with changes.
func instance(name string, change ...string) string {
	body := `{"name":"NAME","machineType":"zones/lab-north1-a/machineTypes/e2-medium","labels":{"a":"b"},
	"metadata":{"items":[{"key":"imageport-ce","value":"the seed"}]},
	"disks":[{"boot":true,"autoDelete":true,"deviceName":"boot","initializeParams":{"diskName":"NAME","sourceImage":"projects/imageport-lab/global/images/ce"}}],
	"networkInterfaces":[{"network":"projects/imageport-lab/global/networks/default","subnetwork":"projects/imageport-lab/regions/lab-north1/subnetworks/default"}],
	"scheduling":{"maxRunDuration":{"seconds":"3600"},"instanceTerminationAction":"DELETE"}}`
	return strings.NewReplacer(append(change, "NAME", name)...).Replace(body)
}

func disk(name, more string) string {
	return fmt.Sprintf(`{"name":%q,"type":"projects/imageport-lab/zones/lab-north1-a/diskTypes/pd-balanced"%s}`, name, more)
}

func attachment(disk, device string, autoDelete bool) string {
	return fmt.Sprintf(`{"source":"projects/imageport-lab/zones/lab-north1-a/disks/%s","deviceName":%q,"interface":"SCSI","autoDelete":%v}`, disk, device, autoDelete)
}

const at = "zones/" + zone + "/"

// What the API refuses.
func TestRefuses(t *testing.T) {
	s := start(t, gce.Config{}).withImage()
	s.want("insert", s.run("POST", at+"instances", instance("one")), "")
	s.want("disk", s.run("POST", at+"disks", disk("out", `,"sizeGb":"1"`)), "")
	for _, tc := range []struct{ method, path, body, want string }{
		{"POST", at + "instances", instance("two", `"labels"`, `"lables"`), "400 invalid"},
		{"POST", at + "instances", instance("Two"), "400 invalid"},
		{"POST", at + "instances", instance("two", `"a":"b"`, `"a":"B"`), "400 invalid"},
		{"POST", at + "instances", instance("two", "e2-medium", "e2-none"), "400 invalid"},
		{"POST", at + "instances", instance("two", "networks/default", "networks/none"), "404 notFound"},
		{"POST", at + "instances", instance("two", "subnetworks/default", "subnetworks/none"), "404 notFound"},
		{"POST", at + "instances", instance("two", "images/ce", "images/none"), "404 notFound"},
		{"POST", at + "instances", instance("two", `"3600"`, `"29"`), "400 invalid"},
		{"POST", at + "instances", instance("two", `"boot":true,`, ``), "400 invalid"},
		{"POST", at + "instances", instance("one"), "409 alreadyExists"},
		{"POST", at + "instances", instance("two", `"diskName":"NAME"`, `"diskName":"out"`), "409 alreadyExists"},
		{"POST", "zones/lab-north1-z/instances", instance("two"), "400 invalid"},
		{"POST", "/compute/v1/projects/another/zones/lab-north1-a/instances", instance("two"), "404 notFound"},
		{"GET", at + "instances?filter=status%3DRUNNING", "", "400 invalid"},
		{"GET", at + "unheard-of", "", "404 notFound"},
		{"POST", at + "disks", disk("two", ``), "400 invalid"},
		{"POST", at + "disks", disk("two", `,"sizeGb":"1","size":1`), "400 invalid"},
		{"POST", at + "disks", disk("two", `,"sourceDisk":"projects/imageport-lab/zones/lab-north1-a/disks/none"`), "404 notFound"},
		{"POST", at + "disks", disk("two", `,"sourceDisk":"out"`), "400 invalid"},
		{"POST", at + "disks", disk("out", `,"sizeGb":"1"`), "409 alreadyExists"},
		{"DELETE", at + "disks/none", "", "404 notFound"},
		{"POST", at + "instances/none/stop", "", "404 notFound"},
		{"POST", at + "instances/one/attachDisk", attachment("none", "dev", true), "404 notFound"},
		{"POST", at + "instances/one/attachDisk", attachment("out", "boot", true), "400 invalid"},
		{"POST", at + "instances/one/attachDisk", attachment("out", "Dev", true), "400 invalid"},
		{"POST", at + "instances/one/detachDisk?deviceName=boot", "", "400 invalid"},
		{"POST", at + "instances/one/setMetadata", `{"fingerprint":"stale"}`, "412 conditionNotMet"},
		{"POST", "global/images", `{"name":"x","rawDisk":{"source":"https://storage.googleapis.com/imageport-lab/none"}}`, "404 notFound"},
		{"POST", "global/images", `{"name":"x","rawDisk":{"source":"gs://imageport-lab/none"}}`, "400 invalid"},
		{"POST", "global/images", `{"name":"ce"}`, "409 alreadyExists"},
		{"DELETE", "global/images/none", "", "404 notFound"},
	} {
		s.want(tc.method+" "+tc.path+" "+tc.body, s.run(tc.method, tc.path, tc.body), tc.want)
	}
	if len(s.Instances()) != 1 || len(s.Disks()) != 2 {
		t.Errorf("now there are %v, %v", s.Instances(), s.Disks())
	}
	s.EndSessions()
	if status, _ := s.call("GET", at+"instances", ""); status != http.StatusUnauthorized {
		t.Errorf("a token that was ended: %d", status)
	}
	if res, err := http.Get(s.URL() + "/compute/v1/projects/imageport-lab/zones/" + zone + "/instances"); err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %v, %v", res, err)
	}
}

// The same request id gives the same operation, also the one that failed.
func TestRequestID(t *testing.T) {
	s := start(t, gce.Config{}).withImage()
	const first, second = "?requestId=11111111-1111-4111-8111-111111111111", "?requestId=22222222-2222-4222-8222-222222222222"
	s.StockOut(zone, "ZONE_RESOURCE_POOL_EXHAUSTED")
	s.want("no room", s.run("POST", at+"instances"+first, instance("one")), "ZONE_RESOURCE_POOL_EXHAUSTED")
	s.StockOut(zone, "")
	s.want("the same attempt", s.run("POST", at+"instances"+first, instance("one")), "ZONE_RESOURCE_POOL_EXHAUSTED")
	s.want("another attempt", s.run("POST", at+"instances"+second, instance("one")), "")
	s.want("the same attempt", s.run("POST", at+"instances"+second, instance("one")), "")
	s.want("no attempt's id", s.run("POST", at+"instances", instance("one")), "409 alreadyExists")
}

// A copy is what it is made from, which cannot go as long as it is being made.
func TestCopy(t *testing.T) {
	s := start(t, gce.Config{})
	s.want("disk", s.run("POST", at+"disks", disk("out", `,"sizeGb":"1"`)), "")
	if err := os.WriteFile(s.DiskFile(zone, "out"), []byte("written"), 0o600); err != nil { // it is shorter now
		t.Fatal(err)
	}
	s.Delay("compute.disks.insert", 200*time.Millisecond)
	const source = `,"sourceDisk":"projects/imageport-lab/zones/lab-north1-a/disks/out"`
	if status, _ := s.call("POST", at+"disks", disk("final", source)); status != http.StatusOK {
		t.Fatal(status)
	}
	s.want("the source goes", s.run("DELETE", at+"disks/out", ""), "400 resourceInUseByAnotherResource")
	s.want("the copy goes", s.run("DELETE", at+"disks/final", ""), "400 resourceNotReady")
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.want("the source goes", s.run("DELETE", at+"disks/out", ""), "")
	wantDisk(t, s.DiskFile(zone, "final"), "written\x00")
}

// What is late has its name at once, and lands although nobody waits.
func TestLate(t *testing.T) {
	s := start(t, gce.Config{}).withImage()
	s.Delay("compute.instances.insert", 200*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", s.URL()+"/compute/v1/projects/imageport-lab/"+at+"instances", strings.NewReader(instance("one")))
	if err != nil {
		t.Fatal(err)
	}
	if res, err := s.client.Do(r); err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	cancel()
	s.want("its name", s.run("POST", at+"instances", instance("one")), "409 alreadyExists")
	s.want("its state", fmt.Sprint(s.call("GET", at+"instances/one", ""))[:3], "404")
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.want("its state", s.Instances()[0].GetStatus(), "RUNNING")
}

// Images are imported of sparse tarballs, and of nothing else.
func TestImport(t *testing.T) {
	s := start(t, gce.Config{})
	if err := s.MakeImage("sparse", "", tarball(t, "content")); err != nil {
		t.Error(err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.MakeImage("text", "", text); err == nil {
		t.Error("an image of a text")
	}
	s.want("images", strings.Join(s.Images(), " "), "sparse")
	s.want("insert", s.run("POST", at+"instances", instance("one", "images/ce", "images/sparse")), "")
}

func TestBadConfigs(t *testing.T) {
	for _, cfg := range []gce.Config{{Zones: []string{"x"}}, {Zones: []string{"a-1-a", "b-1-a"}}, {Listen: "nowhere:x"}, {Dir: "/dev/null/x"}} {
		if c, err := gce.Start(cfg); err == nil {
			c.Close()
			t.Errorf("%+v: it starts", cfg)
		}
	}
}

func TestInjected(t *testing.T) {
	var seen []string
	var mu sync.Mutex
	s := start(t, gce.Config{Before: func(c gce.Call) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, c.Method+" "+c.Zone+" "+c.Name)
		return nil
	}})
	s.Inject("compute.disks.list", gce.Fault{Status: 429, Reason: "rateLimitExceeded", Message: "slow", RetryAfter: 1500 * time.Millisecond}, 1)
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL()+"/compute/v1/projects/imageport-lab/"+at+"disks", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.client.Do(r)
	if err != nil || res.StatusCode != 429 || res.Header.Get("Retry-After") != "2" {
		t.Errorf("%v, %v", res, err)
	}
	s.want("once", s.run("GET", at+"disks/x", ""), "404 notFound")
	s.Deny("compute.disks.get")
	s.want("denied", s.run("GET", at+"disks/x", ""), "403 forbidden")
	s.Allow("compute.disks.get")
	if want := "compute.disks.list lab-north1-a ,compute.disks.get lab-north1-a x,compute.disks.get lab-north1-a x"; strings.Join(seen, ",") != want {
		t.Errorf("seen were %q", seen)
	}
}
