package platforms_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/job/seed"
	"imageport/platforms"
)

type fake struct {
	platforms.Driver
	name string
}

func TestRegistry(t *testing.T) {
	r := platforms.Registry{"local": platforms.Always(fake{name: "local"}), "Xen": platforms.Always(fake{name: "xen"})}
	for _, tc := range []struct {
		platform, want string
		in             []string // parts of the error
	}{
		{platform: "local", want: "local"},
		{platform: " LOCAL ", want: "local"},
		{platform: "xenserver", want: "xen"},
		{platform: "CitrixHypervisor", want: "xen"},
		{platform: "VSPHERE", in: []string{"platform vSphere is one of the specification's", "no driver for it", "Xen, local"}},
		{platform: "GoogleCloud", in: []string{"platform GCP is one of the specification's"}},
		{platform: "vspere", in: []string{`there is no platform "vspere"`, "Xen, local"}},
		{platform: "", in: []string{`there is no platform ""`}},
	} {
		t.Run(tc.platform, func(t *testing.T) {
			d, err := r.Driver(t.Context(), job.Target{Platform: tc.platform})
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
	if _, err := (platforms.Registry{}).Driver(t.Context(), job.Target{Platform: "local"}); !strings.Contains(err.Error(), "no platform at all") {
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
		{platforms.Errorf(platforms.Full, "x"), job.PlatformFull},
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
		Seed: seed.Seed{
			Name:     "ce-0123456789ab",
			Deadline: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
			Gateway:  seed.Gateway{Address: "worker:7443", CA: strings.Repeat("0a", 32), Patience: 60, Token: "t"},
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
		"no token":       func(s *platforms.Spec) { s.Seed.Gateway.Token = "" },
		"too big":        func(s *platforms.Spec) { s.Seed.Gateway.Token = strings.Repeat("x", seed.MaxBytes) },
	} {
		s := goodSpec()
		spoil(&s)
		if err := s.Validate(); platforms.KindOf(err) != platforms.BadRequest {
			t.Errorf("%s: %v", what, err)
		}
	}
}
