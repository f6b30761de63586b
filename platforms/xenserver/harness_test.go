package xenserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/platformtest"
	"imageport/platforms/xenserver/xapi"
)

// harness is a pool, with what can be done to any.
type harness struct {
	where              job.Target
	username, password string
	appliance          string
	real               bool    // it is not the test's alone
	outputs            string  // what the names of output disks begin with
	eye                *Driver // of the test's own

	foreign map[string]bool    // references of what was there before
	planted platformtest.Names // references
}

// applianceBytes is the size of the appliance of tests: no multiple of a MiB.
const applianceBytes = 3<<20 + 4096

func testAppliance(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ce.raw")
	content := bytes.Repeat([]byte("appliance"), applianceBytes/9+1)[:applianceBytes]
	clear(content[1<<20 : 2<<20])
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (h *harness) config() Config {
	return Config{
		Credential: func(_ context.Context, id string) (string, string, error) {
			if id != "pool" {
				return "", "", errors.New("no such credential")
			}
			return h.username, h.password, nil
		},
		Appliance: h.appliance, MemoryMB: 256, CPUs: 1, PollInterval: 4 * time.Millisecond,
	}
}

// open gives the driver of a new platform.
func (h *harness) open(t testing.TB, cfg Config, where job.Target) *Driver {
	t.Helper()
	p, err := New(cfg)
	return platformtest.Opened[*Driver](t, p, err, where)
}

func (h *harness) Open(t testing.TB) platforms.Driver { return h.open(t, h.config(), h.where) }

// admin makes a call past the driver under test.
func (h *harness) admin(t testing.TB, method string, out any, params ...any) {
	t.Helper()
	if err := h.eye.client.Call(context.Background(), method, out, params...); err != nil {
		t.Fatalf("past the driver: %v", err)
	}
}

// everything gives the references of all VMs and VDIs.
func (h *harness) everything(t testing.TB) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	for ref := range h.allVMs(t) {
		all[string(ref)] = true
	}
	for ref := range h.allVDIs(t) {
		all[string(ref)] = true
	}
	return all
}

func (h *harness) allVMs(t testing.TB) map[xapi.Ref]*vm {
	t.Helper()
	var all map[xapi.Ref]*vm
	h.admin(t, "VM.get_all_records", &all)
	for ref, v := range all {
		v.ref = ref
		if h.foreign[string(ref)] || v.Control {
			delete(all, ref)
		}
	}
	return all
}

func (h *harness) allVDIs(t testing.TB) map[xapi.Ref]*vdi {
	t.Helper()
	var all map[xapi.Ref]*vdi
	h.admin(t, "VDI.get_all_records", &all)
	for ref, v := range all {
		v.ref = ref
		if h.foreign[string(ref)] {
			delete(all, ref)
		}
	}
	return all
}

// methodOf gives the method of XAPI that a request calls.
func methodOf(req *http.Request) string {
	if req.Method == http.MethodPut {
		return "import_raw_vdi"
	}
	body, err := req.GetBody()
	if err != nil {
		return ""
	}
	var call struct{ Method string }
	if json.NewDecoder(body).Decode(&call) != nil {
		return ""
	}
	return call.Method
}

// way is a function as the way between a driver and its connections.
type way func(req *http.Request) (*http.Response, error)

func (w way) RoundTrip(req *http.Request) (*http.Response, error) { return w(req) }

// before opens a driver of which each call is told of first, by its method. It is not
// made if there is an error.
func (h *harness) before(t testing.TB, see func(method string) error) *Driver {
	t.Helper()
	cfg := h.config()
	cfg.Wrap = func(inner http.RoundTripper) http.RoundTripper {
		return way(func(req *http.Request) (*http.Response, error) {
			if err := see(methodOf(req)); err != nil {
				return nil, err
			}
			return inner.RoundTrip(req)
		})
	}
	return h.open(t, cfg, h.where)
}

func (h *harness) Cut(t testing.TB, call platformtest.Call, n int) bool {
	t.Helper()
	return platformtest.CutBy(t, call, n, func(c *platformtest.Cutter) platforms.Driver {
		return h.before(t, func(method string) error { return c.Call(method == "import_raw_vdi" || xapi.Changes(method)) })
	}, func() { h.quiet(t) })
}

// quiet waits until no task runs.
func (h *harness) quiet(t testing.TB) {
	t.Helper()
	if h.real {
		time.Sleep(2 * time.Second)
		return
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		var all map[xapi.Ref]struct {
			Status string `json:"status"`
			Name   string `json:"name_label"`
		}
		h.admin(t, "task.get_all_records", &all)
		running := false
		for _, task := range all {
			running = running || task.Status == "pending" && strings.HasPrefix(task.Name, "Async.")
		}
		if !running {
			return
		}
		if time.Now().After(end) {
			t.Fatal("a task does not end")
		}
	}
}

// ceVMs gives the VMs of that name that were not planted.
func (h *harness) ceVMs(t testing.TB, name string) []*vm {
	t.Helper()
	var all []*vm
	for ref, v := range h.allVMs(t) {
		if v.Name == name && !h.planted.Has(string(ref)) {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, better)
	return all
}

func (h *harness) ceVM(t testing.TB, name string) *vm {
	t.Helper()
	all := h.ceVMs(t, name)
	if len(all) == 0 {
		t.Fatalf("there is no %s", name)
	}
	return all[0]
}

func (h *harness) Kill(t testing.TB, name string) {
	t.Helper()
	h.admin(t, "VM.hard_shutdown", nil, h.ceVM(t, name).ref)
}

func (h *harness) Plant(t testing.TB, name string) func() bool {
	t.Helper()
	ref := h.plantVM(t, name, nil)
	return func() bool {
		v := h.allVMs(t)[ref]
		return v != nil && v.Name == name && v.Marks[keyVerdict] == "" && v.Marks[keyEnding] == ""
	}
}

// plantVM makes a VM past the driver.
func (h *harness) plantVM(t testing.TB, name string, m marks) xapi.Ref {
	t.Helper()
	var record map[string]any
	p := &Platform{cfg: h.config()}
	p.cfg.Now = time.Now
	way := way(func(req *http.Request) (*http.Response, error) {
		var call struct{ Params []any }
		body, _ := req.GetBody()
		if err := json.NewDecoder(body).Decode(&call); err != nil {
			return nil, err
		}
		if methodOf(req) == "VM.create" {
			record = call.Params[1].(map[string]any)
		}
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"result":"OpaqueRef:x"}`)), Request: req}, nil
	})
	d := &Driver{p: p, pool: &pool{client: xapi.New(xapi.Config{Wrap: func(http.RoundTripper) http.RoundTripper { return way }})}}
	if err := d.createVM(t.Context(), platforms.Spec{Name: name}, ""); err != nil {
		t.Fatal(err)
	}
	record["other_config"] = maps.Clone(m)
	if m == nil {
		record["other_config"] = marks{}
	}
	var ref xapi.Ref
	h.admin(t, "VM.create", &ref, record)
	if m == nil {
		h.planted.Add(string(ref))
	}
	return ref
}

func (h *harness) Agents(t testing.TB, name string) int {
	t.Helper()
	n := 0
	for _, v := range h.ceVMs(t, name) {
		if v.on() {
			n++
		}
	}
	return n
}

func (h *harness) Leftovers(t testing.TB) []string {
	t.Helper()
	h.quiet(t) // what is being removed is not left behind
	var left []string
	for ref, v := range h.allVMs(t) {
		if !h.planted.Has(string(ref)) {
			left = append(left, fmt.Sprintf("VM %s %v", v.Name, v.Marks))
		}
	}
	bases := 0
	for ref, v := range h.allVDIs(t) {
		switch {
		case h.planted.Has(string(ref)) || strings.HasPrefix(v.Name, h.outputs):
		case v.isAppliance() && v.Name == "imageport-ce "+v.Marks[keyAppliance]:
			bases++
		default:
			left = append(left, fmt.Sprintf("VDI %s %v", v.Name, v.Marks))
		}
	}
	if bases > 1 {
		left = append(left, fmt.Sprintf("%d VDIs with the appliance", bases))
	}
	slices.Sort(left)
	return left
}
