package pid1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imageport/appliance/pid1/network"
	"imageport/appliance/seedsource"
	"imageport/job/seed"
)

// site is a machine without a kernel: what happens to it is a list.
type site struct {
	done       []string
	local, net []byte
	localErr   error
	cloud      bool
	upErr      error
	lost       chan error
	drivers    error
	readied    int
	readyErr   error
	log        bytes.Buffer
	reports    []report
	hidden     string
}

var none = &seedsource.NotFoundError{Machine: `"QEMU"`, Said: []string{"fw_cfg: not there"}}

func (s *site) note(format string, args ...any) {
	s.done = append(s.done, fmt.Sprintf(format, args...))
}

func (s *site) Local(context.Context) ([]byte, string, error) {
	s.note("local")
	if s.localErr != nil {
		return nil, "", s.localErr
	}
	return s.local, "fw_cfg", nil
}

func (s *site) Network(context.Context) ([]byte, string, error) {
	s.note("metadata")
	if s.net == nil {
		return nil, "", none
	}
	return s.net, "GCP metadata", nil
}

func (s *site) OnNetwork() bool { return s.cloud }

func (s *site) machine(serve Serve) *machine {
	return &machine{
		sources: s,
		drivers: func(context.Context) error { s.note("drivers"); return s.drivers },
		up: func(_ context.Context, cfg network.Config) (<-chan error, error) {
			s.note("network %v", cfg.Static != nil)
			return s.lost, s.upErr
		},
		ready: func(context.Context) error { s.readied++; return s.readyErr },
		serve: serve,
		log:   slog.New(slog.NewTextHandler(&s.log, nil)),
		hide:  func(secret string) { s.hidden = secret },
		named: func(name string) error { s.note("named %s", name); return nil },
		tell:  func(r report) error { s.reports = append(s.reports, r); return nil },
	}
}

func encoded(t *testing.T, lives time.Duration, n *seed.Network) []byte {
	t.Helper()
	b, err := seed.Seed{Name: "ce-0123456789ab", Deadline: time.Now().Add(lives), Network: n,
		Gateway: seed.Gateway{Address: "gw:7443", CA: strings.Repeat("0a", 32), Patience: 60, Token: "t0ken"}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// finish is work that ends at once.
func finish(context.Context, seed.Seed, *slog.Logger) error { return nil }

// wait is work until it is told to end, as the real agent does it.
func wait(ctx context.Context, _ seed.Seed, _ *slog.Logger) error { <-ctx.Done(); return nil }

func TestRun(t *testing.T) {
	static := &seed.Network{Address: "192.0.2.7/24"}
	for name, test := range map[string]struct {
		site  func(t *testing.T) *site
		serve Serve
		did   string // in order
		err   string // none: a good end
	}{
		"static addresses": {func(t *testing.T) *site { return &site{local: encoded(t, time.Hour, static)} }, finish,
			"drivers, local, named ce-0123456789ab, network true", ""},
		"DHCP": {func(t *testing.T) *site { return &site{local: encoded(t, time.Hour, nil)} }, finish,
			"drivers, local, named ce-0123456789ab, network false", ""},
		"a cloud": {func(t *testing.T) *site { return &site{localErr: none, cloud: true, net: encoded(t, time.Hour, nil)} }, finish,
			"drivers, local, network false, metadata, named ce-0123456789ab", ""},
		"a cloud without a seed": {func(*testing.T) *site { return &site{localErr: none, cloud: true} }, finish,
			"drivers, local, network false, metadata", `no seed on this machine, "QEMU": fw_cfg: not there`},
		"no seed": {func(*testing.T) *site { return &site{localErr: none} }, finish, "drivers, local", `no seed on this machine, "QEMU": fw_cfg: not there`},
		"a seed that is none": {func(*testing.T) *site { return &site{local: []byte("t0ken")} }, finish, "drivers, local",
			"fw_cfg: seed: it is not a JSON object"},
		"a damaged source of a cloud": {func(*testing.T) *site { return &site{localErr: seedsource.ErrMalformed, cloud: true} }, finish, "drivers, local", "malformed"},
		"no address": {func(t *testing.T) *site {
			return &site{local: encoded(t, time.Hour, nil), upErr: errors.New("no address by DHCP")}
		}, finish, "drivers, local, named ce-0123456789ab, network false", "no address by DHCP"},
		"too late": {func(t *testing.T) *site { return &site{local: encoded(t, -time.Second, nil)} }, finish,
			"drivers, local, named ce-0123456789ab", "the deadline 1999-12-31T23:59:59Z has passed, says the clock of this machine: it is 2000-01-01T00:00:00Z"},
		"the deadline comes": {func(t *testing.T) *site { return &site{local: encoded(t, time.Hour, nil)} }, wait,
			"drivers, local, named ce-0123456789ab, network false", "the deadline 2000-01-01T01:00:00Z has passed"},
		"the address goes": {func(t *testing.T) *site {
			s := &site{local: encoded(t, time.Hour, nil), lost: make(chan error, 1)}
			s.lost <- errors.New("the lease ran out")
			return s
		}, wait, "drivers, local, named ce-0123456789ab, network false", "the lease ran out"},
		"the work fails": {func(t *testing.T) *site { return &site{local: encoded(t, time.Hour, nil)} },
			func(context.Context, seed.Seed, *slog.Logger) error { return errors.New("wrong CA") },
			"drivers, local, named ce-0123456789ab, network false", "wrong CA"},
		"drivers fail, and it works": {func(t *testing.T) *site {
			return &site{local: encoded(t, time.Hour, nil), drivers: errors.New("no index")}
		}, finish, "drivers, local, named ce-0123456789ab, network false", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := test.site(t)
			ctx, cancel := context.WithCancel(t.Context())
			err := s.machine(test.serve).run(ctx)
			cancel()
			synctest.Wait()
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.HasPrefix(err.Error(), test.err)) {
				t.Errorf("%s: %v", name, err)
			}
			if did := strings.Join(s.done, ", "); did != test.did {
				t.Errorf("%s: %s", name, did)
			}
			if strings.Contains(s.log.String()+fmt.Sprint(err), "t0ken") {
				t.Errorf("%s: the token is in the log or the error", name)
			}
			if test.err == "" && (s.hidden != "t0ken" || len(s.reports) != 2 || s.reports[0].Deadline.IsZero() || !s.reports[1].Working) {
				t.Errorf("%s: hidden %q, reports %+v", name, s.hidden, s.reports)
			}
		})
	}
}

// Told to end, the agent does, wherever it is.
func TestRunIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, context.Canceled)
		defer cancel()
		s := &site{local: encoded(t, time.Hour, nil)}
		if err := s.machine(wait).run(ctx); err != nil {
			t.Error(err)
		}
		s = &site{localErr: errors.New("interrupted")}
		if err := s.machine(wait).run(ctx); err != nil {
			t.Error(err)
		}
	})
}

// The platform is told that disks may come before work begins. That it does not
// hear is said, and no end.
func TestReady(t *testing.T) {
	s := &site{local: encoded(t, time.Hour, nil), readyErr: errors.New("nobody answers")}
	work := func(context.Context, seed.Seed, *slog.Logger) error {
		if s.readied != 1 {
			t.Errorf("told %d times", s.readied)
		}
		return nil
	}
	if err := s.machine(work).run(t.Context()); err != nil || !strings.Contains(s.log.String(), "nobody answers") {
		t.Errorf("%v: %s", err, s.log.String())
	}
}

func TestWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{local: encoded(t, time.Hour, nil)}
		m := s.machine(finish)
		m.built = time.Now().Add(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		if err := m.run(ctx); err != nil || !strings.Contains(s.log.String(), "clock of this machine is wrong") {
			t.Errorf("%v: %s", err, s.log.String())
		}
		cancel()
		synctest.Wait()
	})
}

func TestMachineFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("MemTotal:         985432 kB\nMemFree:          123 kB\n")
	if n, err := memoryLimit(file); err != nil || n != 985432<<10/4*3 {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "MemTotal: x kB\n", "MemTotal: -1 kB\n", "MemTotal: 99999999999999999999 kB\n", "MemTotal: 5 MB\n"} {
		write(bad)
		if n, err := memoryLimit(file); err == nil {
			t.Errorf("%q: %d", bad, n)
		}
	}
	write("console=ttyS0 imageport.network=5s quiet imageport.network=7s imageport.networks=9s\n")
	if v, ok := parameter(file, waitParameter); !ok || v != "7s" {
		t.Errorf("%q %v", v, ok)
	}
	if v, ok := parameter(file, "imageport"); ok {
		t.Errorf("%q", v)
	}
	if _, ok := parameter(file+".missing", waitParameter); ok {
		t.Error("no command line")
	}
}

// Outside of a Compositing Engine the agent must not load drivers and change
// addresses.
func TestAgentRefusesElsewhere(t *testing.T) {
	if err := Agent(finish); !errors.Is(err, ErrNotInCE) {
		t.Error(err)
	}
}

func TestShorten(t *testing.T) {
	for in, want := range map[string]string{"abc": "abc", "abcd": "abc..."} {
		if got := shorten(in, 3); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
