package seed_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"imageport/job/seed"
)

func good() seed.Seed {
	return seed.Seed{
		Name:     "ce-0123456789ab",
		Deadline: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		Gateway:  seed.Gateway{Address: "[2001:db8::1]:7443", CA: strings.Repeat("0a", 32), Patience: 60, Token: "t0ken"},
		Network:  &seed.Network{Address: "192.0.2.7/24", Router: "192.0.2.1", DNS: []string{"192.0.2.2", "2001:db8::2"}},
	}
}

func TestRoundTrip(t *testing.T) {
	for _, want := range []seed.Seed{good(), func() seed.Seed { s := good(); s.Network = nil; return s }()} {
		b, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := seed.Decode(append(b, '\n'))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for what, spoil := range map[string]func(*seed.Seed){
		"is no name":          func(s *seed.Seed) { s.Name = "ce-../../etc/12" },
		`\n" is no name`:      func(s *seed.Seed) { s.Name += "\n" },
		"no deadline":         func(s *seed.Seed) { s.Deadline = time.Time{} },
		`"worker" is no addr`: func(s *seed.Seed) { s.Gateway.Address = "worker" },
		`":7443" is no addr`:  func(s *seed.Seed) { s.Gateway.Address = ":7443" },
		"gateway's CA":        func(s *seed.Seed) { s.Gateway.CA = "0a" },
		"no patience":         func(s *seed.Seed) { s.Gateway.Patience = 0 },
		"no token":            func(s *seed.Seed) { s.Gateway.Token = "" },
		"bytes, the limit":    func(s *seed.Seed) { s.Gateway.Token = strings.Repeat("x", seed.MaxBytes) },
		`"192.0.2.7"`:         func(s *seed.Seed) { s.Network.Address = "192.0.2.7" },
		`"upstairs"`:          func(s *seed.Seed) { s.Network.Router = "upstairs" },
		`"dns.example"`:       func(s *seed.Seed) { s.Network.DNS[1] = "dns.example" },
	} {
		s := good()
		spoil(&s)
		if _, err := s.Encode(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: Encode gives %v", what, err)
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := seed.Decode(b); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: Decode gives %v", what, err)
		}
	}
	b, err := good().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "{}", "null", "[]", string(b) + "{}", string(b[:len(b)-1]), `{"order":66,` + string(b[1:]),
		strings.Repeat(" ", seed.MaxBytes) + string(b)} {
		if s, err := seed.Decode([]byte(bad)); err == nil || strings.Contains(err.Error(), "t0ken") {
			t.Errorf("%.40q: %+v, %v", bad, s, err)
		}
	}
}

func TestNames(t *testing.T) {
	if name := seed.Name("0123456789ab"); !seed.ValidName(name) || seed.Queue(name) != "ce/0123456789ab" {
		t.Errorf("%s polls %s", name, seed.Queue(name))
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := good().Encode()
	f.Add(b)
	f.Add([]byte(`{"name":"ce-0123456789ab","deadline":"2030-01-02T03:04:05Z","gateway":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := seed.Decode(b)
		if err != nil {
			return
		}
		// What was read can be written, unless escaping made it longer than a seed may be.
		again, err := s.Encode()
		if err != nil {
			if len(b) < seed.MaxBytes/6 {
				t.Fatalf("%q decodes to %+v, which does not encode: %v", b, s, err)
			}
			return
		}
		if _, err := seed.Decode(again); err != nil {
			t.Fatalf("%q: %v", again, err)
		}
	})
}
