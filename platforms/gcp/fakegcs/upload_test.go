package fakegcs

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsouza/fake-gcs-server/fakestorage"

	"imageport/job"
	"imageport/job/seed"
	"imageport/lab/gce"
	"imageport/platforms"
	"imageport/platforms/gcp"
	"imageport/platforms/platformtest"
)

// router sends what is for Cloud Storage to the one, and all else to the other. It
// hands over the object when an image is made from it.
type router struct {
	storage *fakestorage.Server
	cloud   *gce.Cloud
	mu      sync.Mutex
	parts   int // requests that carried content
}

func (r *router) RoundTrip(req *http.Request) (*http.Response, error) {
	switch path := req.URL.Path; {
	case strings.HasPrefix(path, "/upload/") || strings.HasPrefix(path, "/storage/"):
		if strings.HasPrefix(path, "/upload/") {
			r.mu.Lock()
			r.parts++
			r.mu.Unlock()
		}
		if strings.HasSuffix(path, "/iam/testPermissions") {
			break // fake-gcs-server has no permissions
		}
		to := req.Clone(req.Context())
		to.URL.Scheme, to.URL.Host, to.Host = "http", strings.TrimPrefix(r.storage.URL(), "http://"), ""
		return r.storage.HTTPClient().Transport.RoundTrip(to)
	case strings.HasSuffix(path, "/global/images") && req.Method == http.MethodPost:
		if err := r.handOver(req); err != nil {
			return nil, err
		}
	}
	return http.DefaultTransport.RoundTrip(req)
}

// handOver puts all objects of the one bucket into the other.
func (r *router) handOver(req *http.Request) error {
	all, _, err := r.storage.ListObjectsWithOptions(r.cloud.Bucket(), fakestorage.ListOptions{})
	if err != nil {
		return err
	}
	for _, attrs := range all {
		object, err := r.storage.GetObject(r.cloud.Bucket(), attrs.Name)
		if err != nil {
			return err
		}
		var body bytes.Buffer
		parts := multipart.NewWriter(&body)
		head, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/json"}})
		if err != nil {
			return err
		}
		fmt.Fprintf(head, `{"name":%q}`, attrs.Name)
		media, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/gzip"}})
		if err != nil {
			return err
		}
		media.Write(object.Content)
		parts.Close()
		to, err := http.NewRequestWithContext(req.Context(), http.MethodPost, r.cloud.URL()+"/upload/storage/v1/b/"+r.cloud.Bucket()+"/o?uploadType=multipart", &body)
		if err != nil {
			return err
		}
		to.Header.Set("Content-Type", "multipart/related; boundary="+parts.Boundary())
		to.Header.Set("Authorization", req.Header.Get("Authorization"))
		res, err := http.DefaultTransport.RoundTrip(to)
		if err != nil {
			return err
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("hand over %s: %s: %s", attrs.Name, res.Status, b)
		}
	}
	return nil
}

// The appliance is uploaded in parts, once for two workers at the same time, is
// whole in the image, and the object goes.
func TestUpload(t *testing.T) {
	cloud, err := gce.Start(gce.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	storage, err := fakestorage.NewServerWithOptions(fakestorage.Options{Scheme: "http", Host: "127.0.0.1", Port: 0})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(storage.Stop)
	storage.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: cloud.Bucket()})

	dir := t.TempDir()
	content := make([]byte, 20<<20) // at random: it does not get smaller
	rand.Read(content)
	disk, tarball := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "ce.tar.gz")
	if err := os.WriteFile(disk, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 1<<30); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "--format=oldgnu", "-Sczf", tarball, "-C", dir, "disk.raw").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}

	r := &router{storage: storage, cloud: cloud}
	where := job.Target{Platform: job.PlatformGCP, PlatformCredentialID: "gcp"}
	where.GCP = job.GCP{GCPZone: cloud.Zones()[0], VPCNetworkName: "default", VPCNetworkSubnetName: "default"}
	var wg sync.WaitGroup
	for _, id := range []string{"000000000001", "000000000002"} {
		p, err := gcp.New(gcp.Config{
			Credential: func(context.Context, string) (gcp.Credential, error) {
				return gcp.Credential{KeyJSON: cloud.KeyJSON()}, nil
			},
			Appliance: tarball, Bucket: cloud.Bucket(), PollInterval: 10 * time.Millisecond, Endpoint: cloud.URL(), Transport: r,
		})
		if err != nil {
			t.Fatal(err)
		}
		d, err := p.Open(t.Context(), where)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			spec := platforms.Spec{Name: seed.Name(id), Job: "j", Owner: "o", Seed: platformtest.Seed(id, time.Now().Add(time.Hour).UTC())}
			if _, err := d.Create(t.Context(), spec); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if left, _, err := storage.ListObjectsWithOptions(cloud.Bucket(), fakestorage.ListOptions{}); err != nil || len(left) > 0 {
		t.Errorf("objects %v are left, %v", left, err)
	}
	if images := cloud.Images(); len(images) != 1 {
		t.Errorf("images %q", images)
	}
	if r.parts < 4 {
		t.Errorf("uploaded in %d requests", r.parts)
	}
	f, err := os.Open(cloud.DiskFile(cloud.Zones()[0], seed.Name("000000000001")))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(content))
	if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the boot disk is not what the appliance's is: %v", err)
	}
}
