package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

// Every refusal has its code and a remedy, comes before a Compositing Engine
// exists, and leaves the share as it was. (What is wrong with an image is
// tested case by case in package convert; here it is what lies around it.)
func TestRefusals(t *testing.T) {
	r := newRig(t, winimage.Small())
	r.startWorker()
	if err := r.AddCredential("wrong", "not the password"); err != nil {
		t.Fatal(err)
	}
	hibernated := winimage.Small()
	hibernated.Hibernated = true
	img, err := winimage.Cached(t.Context(), hibernated)
	if err != nil {
		t.Fatal(err)
	}
	if err := img.VHDX(t.Context(), filepath.Join(r.Store, "asleep.vhdx"), winimage.Dynamic); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.Store, "taken.avhdx"), []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	where := func(key string, value any) func(map[string]any) {
		return func(b map[string]any) { b["inputStorageLocation"].(map[string]any)[key] = value }
	}
	set := func(key string, value any) func(map[string]any) {
		return func(b map[string]any) { b[key] = value }
	}
	// Each its own output: these run at the same time.
	requests := 0
	request := func(change func(map[string]any)) []byte {
		requests++
		return r.body(func(b map[string]any) {
			b["outputImageFilename"] = fmt.Sprintf("out-%d", requests)
			change(b)
		})
	}
	before := r.files()
	for _, c := range []struct {
		name string
		body []byte
		code job.Code
	}{
		{"bad JSON", []byte(`"{"`), job.BadRequest},
		{"missing fields", []byte(`{}`), job.BadRequest},
		{"unknown platform", request(set("platform", "toaster")), job.UnknownPlatform},
		{"platform without a driver yet", request(set("platform", "vSphere")), job.UnknownPlatform},
		{"another resource location", request(set("resourceLocationId", "elsewhere")), job.WrongResourceLocation},
		{"unknown credential id", request(where("credentialId", "nobody")), job.UnknownCredential},
		{"wrong password", request(where("credentialId", "wrong")), job.ShareAuthFailed},
		{"unreachable share", request(where("port", closedPort(t))), job.ShareUnreachable},
		{"no such share", request(where("sharePath", "nothing")), job.ShareNotFound},
		{"no such folder", request(where("sharePath", "disks/nothing")), job.ShareNotFound},
		{"missing image", request(set("inputImageFilename", "win11")), job.ImageNotFound},
		{"wrong format", request(func(b map[string]any) {
			b["inputImageFilename"], b["inputImageFormat"] = site.Image, "VhdDiskFormat"
		}), job.WrongFormat},
		{"hibernated", request(set("inputImageFilename", "asleep")), job.Hibernated},
		{"output exists", request(set("outputImageFilename", "taken")), job.OutputExists},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			id := strings.ReplaceAll(t.Name()+r.ResourceLocation, "/", " ")
			r.startAs(id, r.ResourceLocation, c.body)
			s := r.wait(id, time.Minute)
			if s.Error == nil || s.Error.Code != c.code || s.State != job.StateFailed {
				t.Fatalf("ended as %s with %+v, want %s", s.State, s.Error, c.code)
			}
			if s.Error.Message == "" || s.Error.Remedy == "" {
				t.Errorf("no message or remedy: %+v", s.Error)
			}
			if strings.Contains(string(r.history(id)), "CreateCE") {
				t.Error("a Compositing Engine was created")
			}
		})
	}
	t.Cleanup(func() { // after the parallel ones
		if after := r.files(); !same(before, after) {
			t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
		}
		r.noCE()
	})
}

// closedPort is a port that nobody listens on.
func closedPort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
