package platforms_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/platforms"
)

type fake struct {
	platforms.Driver
	name string
}

func TestRegistry(t *testing.T) {
	r := platforms.Registry{"local": fake{name: "local"}, "Xen": fake{name: "xen"}}
	for _, tc := range []struct {
		platform, want string
		in             []string // parts of the error
	}{
		{platform: "local", want: "local"},
		{platform: " LOCAL ", want: "local"},
		{platform: "xenserver", want: "xen"},
		{platform: "CitrixHypervisor", want: "xen"},
		{platform: "VSPHERE", in: []string{"platform vSphere is one of the specification's", "no driver for it yet", "Xen, local"}},
		{platform: "GoogleCloud", in: []string{"platform GCP is one of the specification's"}},
		{platform: "vspere", in: []string{`there is no platform "vspere"`, "Xen, local"}},
		{platform: "", in: []string{`there is no platform ""`}},
	} {
		t.Run(tc.platform, func(t *testing.T) {
			d, err := r.Driver(tc.platform)
			if tc.want != "" {
				if err != nil || d.(fake).name != tc.want {
					t.Fatalf("got %v, %v; want %s", d, err, tc.want)
				}
				return
			}
			if job.CodeOf(err) != job.UnknownPlatform {
				t.Fatalf("got %v; want %s", err, job.UnknownPlatform)
			}
			for _, part := range tc.in {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
		})
	}
	if _, err := (platforms.Registry{}).Driver("local"); !strings.Contains(err.Error(), "no platform at all") {
		t.Errorf("empty registry: %v", err)
	}
}

func TestJobError(t *testing.T) {
	cause := &fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}
	for _, tc := range []struct {
		err  error
		code job.Code
	}{
		{platforms.Errorf(platforms.NotFound, "%w", platforms.ErrNotFound), job.PlatformRefused},
		{platforms.Errorf(platforms.Foreign, "x"), job.PlatformRefused},
		{platforms.Errorf(platforms.Busy, "x"), job.PlatformError},
		{platforms.Errorf(platforms.Full, "x"), job.PlatformError},
		{platforms.Errorf(platforms.Denied, "mark: %w", cause), job.PlatformRefused},
		{platforms.Errorf(platforms.BadRequest, "x"), job.BadRequest},
		{platforms.Errorf(platforms.Internal, "x"), job.PlatformError},
		{platforms.Errorf("unheard of", "x"), job.PlatformError},
		{fmt.Errorf("create: %w", platforms.Errorf(platforms.Denied, "x")), job.PlatformRefused},
		{errors.New("plain"), job.PlatformError},
		{fmt.Errorf("wallet: %w", job.Errorf(job.UnknownCredential, "r", "m")), job.UnknownCredential},
	} {
		e := platforms.JobError("local", tc.err)
		if e.Code != tc.code {
			t.Errorf("%v: %s; want %s", tc.err, e.Code, tc.code)
		}
		if e.Code != job.UnknownCredential && !errors.Is(e, tc.err) {
			t.Errorf("%v: the cause is lost", tc.err)
		}
	}
	if e := platforms.JobError("local", nil); e != nil {
		t.Errorf("no failure became %v", e)
	}
	if !errors.Is(platforms.Errorf(platforms.Denied, "a: %w", cause), fs.ErrPermission) {
		t.Error("Errorf does not wrap")
	}
}

func goodSpec() platforms.Spec {
	return platforms.Spec{
		Name: "ce-0123456789ab", Job: "ips/files/pvs/win10", RunID: "r", Owner: "location",
		Seed: platforms.Seed{
			Name: "ce-0123456789ab", TaskQueue: "ce/0123456789ab",
			Deadline: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
			Endpoint: json.RawMessage(`{"address":"localhost:7233"}`),
		},
	}
}

func TestSpecValidate(t *testing.T) {
	if err := goodSpec().Validate(); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(*platforms.Spec){
		"no name":        func(s *platforms.Spec) { s.Name, s.Seed.Name = "", "" },
		"path":           func(s *platforms.Spec) { s.Name = "ce-../../etc/12"; s.Seed.Name = s.Name },
		"second line":    func(s *platforms.Spec) { s.Name += "\n"; s.Seed.Name = s.Name },
		"no job":         func(s *platforms.Spec) { s.Job = "" },
		"no owner":       func(s *platforms.Spec) { s.Owner = "" },
		"another's seed": func(s *platforms.Spec) { s.Seed.Name = "ce-ffffffffffff" },
		"no queue":       func(s *platforms.Spec) { s.Seed.TaskQueue = "" },
		"no deadline":    func(s *platforms.Spec) { s.Seed.Deadline = time.Time{} },
		"not JSON":       func(s *platforms.Spec) { s.Seed.Endpoint = json.RawMessage(`{`) },
		"too big": func(s *platforms.Spec) {
			s.Seed.Endpoint = json.RawMessage(`"` + strings.Repeat("x", platforms.MaxSeedBytes) + `"`)
		},
	} {
		s := goodSpec()
		spoil(&s)
		if err := s.Validate(); platforms.KindOf(err) != platforms.BadRequest {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestSeedRoundTrip(t *testing.T) {
	want := goodSpec().Seed
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := platforms.DecodeSeed(append(b, '\n'))
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != want.Name || got.TaskQueue != want.TaskQueue || !got.Deadline.Equal(want.Deadline) ||
		!bytes.Equal(got.Endpoint, want.Endpoint) {
		t.Errorf("got %+v; want %+v", got, want)
	}
	for _, bad := range []string{"", "{}", "null", "[]", string(b) + "{}", string(b[:len(b)-1]),
		`{"name":"ce-0123456789ab","taskQueue":"q","deadline":"2030-01-02T03:04:05Z","order":66}`,
		strings.Repeat(" ", platforms.MaxSeedBytes) + string(b)} {
		if s, err := platforms.DecodeSeed([]byte(bad)); platforms.KindOf(err) != platforms.BadRequest {
			t.Errorf("%.40q: %+v, %v", bad, s, err)
		}
	}
}

func FuzzDecodeSeed(f *testing.F) {
	b, _ := goodSpec().Seed.Encode()
	f.Add(b)
	f.Add([]byte(`{"name":"ce-0123456789ab","taskQueue":"q","deadline":"2030-01-02T03:04:05Z","endpoint":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := platforms.DecodeSeed(b)
		if err != nil {
			return
		}
		// What was read can be written, unless escaping made it longer than a seed may be.
		again, err := s.Encode()
		if err != nil {
			if len(b) < platforms.MaxSeedBytes/6 {
				t.Fatalf("%q decodes to %+v, which does not encode: %v", b, s, err)
			}
			return
		}
		if _, err := platforms.DecodeSeed(again); err != nil {
			t.Fatalf("%q: %v", again, err)
		}
	})
}
