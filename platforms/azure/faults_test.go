package azure_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	lab "imageport/lab/azure"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// A connection that breaks is tried again once; one that stays broken is Busy.
func TestConnectionBreaks(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for n, kind := range map[int]platforms.Kind{1: "", 2: platforms.Busy} {
		cfg := h.config()
		left := n
		cfg.Transport = transport(func(req *http.Request) (*http.Response, error) {
			if left > 0 && req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/virtualMachines/") {
				left--
				return nil, fmt.Errorf("read: %w", errBroken)
			}
			return h.cloud.Do(req)
		})
		_, err := h.open(t, cfg).Find(t.Context(), "ce-0123456789ab")
		if kind == "" {
			kind = platforms.NotFound
		}
		if platforms.KindOf(err) != kind {
			t.Errorf("broken %d times: %v; want %q", n, err, kind)
		}
	}
}

var errBroken = &brokenError{}

// brokenError is what net gives for a connection that was reset.
type brokenError struct{}

func (*brokenError) Error() string   { return "connection reset by peer" }
func (*brokenError) Timeout() bool   { return false }
func (*brokenError) Temporary() bool { return true }

// transport makes a policy.Transporter of a function.
type transport func(*http.Request) (*http.Response, error)

func (t transport) Do(req *http.Request) (*http.Response, error) { return t(req) }

var _ policy.Transporter = transport(nil)

// What Azure forgets when it deletes a VM is found, and removed.
func TestLeftBehind(t *testing.T) {
	for _, bare := range []bool{false, true} {
		t.Run(fmt.Sprintf("bare=%v", bare), func(t *testing.T) {
			t.Parallel()
			testLeftBehind(t, newHarnessWith(t, lab.Config{Bare: bare}))
		})
	}
}

func addDisk(t *testing.T, h *harness) platforms.OutputDiskRef {
	t.Helper()
	call := platformtest.NewCall(h, platformtest.AddDisk)
	ref, err := h.Open(t).(platforms.OutputDisks).AddOutputDisk(t.Context(), call.CE.Name, call.Disk)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func testLeftBehind(t *testing.T, h *harness) {
	call := platformtest.NewCall(h, platformtest.Create)
	for _, way := range []string{"Destroy", "somebody deletes the VM", "somebody deletes the VM, Create"} {
		platformtest.Do(t, h, platformtest.Create)
		h.WriteDisk(t, call.CE.Name, addDisk(t, h), 4096, []byte("of another attempt"))
		h.cloud.LeaveBehind()
		if way != "Destroy" {
			h.cloud.DeleteMachine(lab.Group, call.CE.Name)
			if left := h.Leftovers(t); len(left) != 3 { // disk, network interface, output disk
				t.Fatalf("left are %q", left)
			}
			listed, err := h.Open(t).List(t.Context())
			if err != nil || len(listed) != 1 || listed[0].Name != call.CE.Name || listed[0].Job != call.CE.Job || listed[0].State != platforms.Stopped || listed[0].Created.IsZero() {
				t.Errorf("%s: listed are %+v, %v", way, listed, err)
			}
		}
		if way == "somebody deletes the VM, Create" {
			platformtest.Do(t, h, platformtest.Create)
			if b := h.ReadDisk(t, call.CE.Name, addDisk(t, h), 4096, 2); string(b) != "\x00\x00" {
				t.Errorf("the disk has %q of the one before", b)
			}
			h.cloud.Heal()
		}
		platformtest.Clean(t, h)
		h.cloud.Heal()
	}
}

// A VM whose creation failed is Failed until the next Create, which makes it
// anew, or Destroy, which asks nobody how that went.
func TestFailedMachine(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := platformtest.NewCall(h, platformtest.Create)
	for _, next := range []platformtest.Verb{platformtest.Create, platformtest.Destroy} {
		h.cloud.FailLater("VirtualMachinesClient.BeginCreateOrUpdate", exhausted, 1)
		err := call.Do(t.Context(), h.Open(t))
		if platforms.KindOf(err) != platforms.Full || !strings.Contains(err.Error(), "sufficient capacity") || !strings.Contains(err.Error(), "(AllocationFailed)") || strings.Contains(err.Error(), "\n") {
			t.Fatalf("it fails by %v", err)
		}
		found, err := h.Open(t).Find(t.Context(), call.CE.Name)
		if err != nil || found.State != platforms.Stopped || !strings.Contains(found.Fault, "AllocationFailed") {
			t.Errorf("found %+v, %v", found, err)
		}
		platformtest.Do(t, h, next)
		platformtest.Clean(t, h)
	}
}

// A VM that fails later, when it has its output disk, is not made anew.
func TestFailedUpdate(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create, platformtest.AddDisk, platformtest.Stop)
	first, _ := h.resource("virtualMachine", platformtest.NewCall(h, platformtest.Find).CE.Name)
	h.cloud.FailLater("VirtualMachinesClient.BeginStart", exhausted, 1)
	if err := platformtest.NewCall(h, platformtest.Create).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Full {
		t.Errorf("no capacity to start it again: %v", err)
	}
	platformtest.Do(t, h, platformtest.Create)
	if h.Attached(t, first.Name) != 1 {
		t.Error("it has lost its disk")
	}
	platformtest.Clean(t, h)
}

// The creation is preempted by a deletion, or lands after Destroy has found
// nothing: List shows it, Create takes it, Destroy removes it.
func TestLateArrival(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Do(t, h, platformtest.Destroy)
	call := platformtest.NewCall(h, platformtest.Create)
	for _, next := range []platformtest.Verb{platformtest.Create, platformtest.Destroy} {
		h.cloud.Hold("VirtualMachinesClient.BeginCreateOrUpdate", time.Second)
		d := h.open(t, h.config())
		d.SetSettle(20 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := call.Do(ctx, d)
		cancel()
		if platforms.KindOf(err) != platforms.Busy {
			t.Fatalf("cancelled: %v", err)
		}
		platformtest.Do(t, h, platformtest.Destroy)
		for _, r := range h.cloud.Resources() {
			if r.Kind == "virtualMachine" {
				t.Fatal("it does not come late")
			}
		}
		h.cloud.Wait()
		h.cloud.Heal()
		listed, err := h.Open(t).List(t.Context())
		if err != nil || len(listed) != 1 || listed[0].Name != call.CE.Name || listed[0].Job != call.CE.Job {
			t.Fatalf("after it has landed: %+v, %v", listed, err)
		}
		platformtest.Do(t, h, next)
		if next == platformtest.Create && h.Agents(t, call.CE.Name) != 1 {
			t.Error("it does not run")
		}
		platformtest.Clean(t, h)
	}
	h.cloud.Delay("VirtualMachinesClient.BeginCreateOrUpdate", time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := call.Do(ctx, h.Open(t)); platforms.KindOf(err) != platforms.Busy {
		t.Fatalf("cancelled while Azure is at it: %v", err)
	}
	began := time.Now()
	platformtest.Clean(t, h)
	if took := time.Since(began); took > time.Second/2 {
		t.Errorf("Destroy waits %v for what it removes", took)
	}
}
