package gcp

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imageport/lab/gce"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// The appliance comes whole into the boot disk, by an upload in parts, and the
// object goes.
func TestImport(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	content := make([]byte, uploadChunk+1<<20) // at random: it does not get smaller
	rand.Read(content)
	var err error
	if h.cfg.Appliance, err = makeTarball(t.TempDir(), content); err != nil {
		t.Fatal(err)
	}
	platformtest.Do(t, h, platformtest.Create)
	images := h.cloud.Images()
	if len(images) != 1 || !strings.HasPrefix(images[0], imagePrefix) || len(images[0]) != len(imagePrefix)+digestChars {
		t.Errorf("images %q", images)
	}
	if left := h.cloud.Objects(); len(left) > 0 {
		t.Errorf("objects %q are left", left)
	}
	if got := h.ReadOutput(t, platformtest.NewSpec().Name, 0, len(content)); !bytes.Equal(got, content) {
		t.Error("the boot disk is not what the appliance's is")
	}
	found, err := h.eye.getImage(t.Context(), h.cloud.Project(), images[0])
	if err != nil {
		t.Fatal(err)
	}
	var has []string
	for _, f := range found.GuestOsFeatures {
		has = append(has, f.GetType())
	}
	if !slices.Equal(has, features) || found.GetArchitecture() != "X86_64" || found.GetDiskSizeGb() != 1 {
		t.Errorf("%v", found)
	}
	platformtest.Clean(t, h)
}

// Workers that need the image at the same time, one of which dies.
func TestImportAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for n := range 6 {
		h.Forget(t)
		h.Cut(t, platformtest.NewCall(h, platformtest.Create), n%4)
		var wg sync.WaitGroup
		for range 4 {
			d := h.Open(t).(*Driver)
			wg.Go(func() {
				if _, err := d.image(t.Context()); err != nil {
					t.Errorf("image: %v", err)
				}
			})
		}
		wg.Wait()
		if images, objects := h.cloud.Images(), h.cloud.Objects(); len(images) != 1 || len(objects) != 0 {
			t.Errorf("images %q, objects %q", images, objects)
		}
		platformtest.Clean(t, h)
	}
}

// An image that failed is made anew; one that is never ready is waited for, and then
// not.
func TestImageStates(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.cfg.PollInterval = time.Millisecond
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Clean(t, h)
	name := h.cloud.Images()[0]
	h.cloud.SetImageStatus(name, "FAILED")
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Clean(t, h)
	h.cloud.SetImageStatus(name, "PENDING")
	if err := platformtest.NewCall(h, platformtest.Create).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Busy || !strings.Contains(err.Error(), "PENDING") {
		t.Errorf("%v", err)
	}
	h.cloud.SetImageStatus(name, "READY")
}

func TestConfiguredImage(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for path, ok := range map[string]bool{
		"projects/imageport-lab/global/images/ce-1": true, "projects/imageport-lab/global/images/family/ce": true,
		"projects/imageport-lab/global/images/none": false, "projects/imageport-lab/global/images/family/none": false,
	} {
		cfg := h.withImage(t, path)
		d := h.open(t, cfg, h.where)
		err := platformtest.NewCall(h, platformtest.Check).Do(t.Context(), d)
		if (err == nil) != ok || !ok && platforms.KindOf(err) != platforms.NotFound {
			t.Errorf("check of %s: %v", path, err)
		}
		if _, err = d.Create(t.Context(), platformtest.NewSpec()); (err == nil) != ok || !ok && platforms.KindOf(err) != platforms.NotFound {
			t.Errorf("CE of %s: %v", path, err)
		}
		platformtest.Do(t, h, platformtest.Destroy)
	}
}

func TestBadAppliances(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no gzip"), 0o600); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(dir, "short")
	if err := os.WriteFile(short, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{text: "no gzip", short: "no gzip", dir: "is no file", filepath.Join(dir, "none"): "no such file"} {
		kind := platforms.BadRequest
		if want == "no such file" {
			kind = platforms.NotFound
		}
		h.cfg.Appliance = path
		for _, verb := range []platformtest.Verb{platformtest.Check, platformtest.Create} {
			if err := platformtest.NewCall(h, verb).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != kind || !strings.Contains(err.Error(), want) {
				t.Errorf("%s with %s: %v", verb, path, err)
			}
		}
	}
	// A gzip that is no tarball: the cloud says so.
	h.cfg.Appliance = filepath.Join(dir, "x.gz")
	if out, err := exec.Command("sh", "-c", "gzip < "+text+" > "+h.cfg.Appliance).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := platformtest.NewCall(h, platformtest.Create).Do(t.Context(), h.Open(t)); err == nil || !strings.Contains(err.Error(), "no tarball") {
		t.Errorf("%v", err)
	}
	if images := h.cloud.Images(); len(images) > 0 {
		t.Errorf("images %q", images)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	d := h.Open(t).(*Driver)
	if _, err := d.p.appliance.Read(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// The worker's appliance is another one now, and gets an image of its own.
func TestApplianceChanges(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	dir := t.TempDir()
	var err error
	if h.cfg.Appliance, err = makeTarball(dir, []byte("one")); err != nil {
		t.Fatal(err)
	}
	d := h.Open(t).(*Driver)
	first, err := d.image(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := d.image(t.Context()); err != nil || again != first {
		t.Errorf("%s, %v", again, err)
	}
	if _, err := makeTarball(dir, []byte("another")); err != nil {
		t.Fatal(err)
	}
	if next, err := d.image(t.Context()); err != nil || next == first || len(h.cloud.Images()) != 2 {
		t.Errorf("%s after %s, %v", next, first, err)
	}
}

// Somebody removes the image; the worker that knows it to be there imports it again.
func TestImageRemoved(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d := h.Open(t)
	for range 3 {
		in, err := d.Create(t.Context(), platformtest.NewSpec())
		if err != nil || len(h.cloud.Images()) != 1 {
			t.Fatalf("%+v, %v, images %q", in, err, h.cloud.Images())
		}
		platformtest.Clean(t, h)
		h.Forget(t)
	}
	h.where.VPCNetworkSubnetName = "none"
	if _, err := h.Open(t).Create(t.Context(), platformtest.NewSpec()); platforms.KindOf(err) != platforms.NotFound || !strings.Contains(err.Error(), "subnetworks/none") {
		t.Errorf("%v", err)
	}
}

// The bucket is not there.
func TestNoBucket(t *testing.T) {
	t.Parallel()
	h := newHarnessWith(t, gce.Config{})
	h.cfg.Bucket = "none"
	for _, verb := range []platformtest.Verb{platformtest.Check, platformtest.Create} {
		if err := platformtest.NewCall(h, verb).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.NotFound || !strings.Contains(err.Error(), "none") {
			t.Errorf("%s: %v", verb, err)
		}
	}
}
