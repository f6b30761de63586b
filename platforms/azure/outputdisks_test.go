package azure_test

import (
	"context"
	"strings"
	"testing"
	"time"

	lab "imageport/lab/azure"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// A name that somebody takes at the last moment stays theirs; when they have
// removed it, the disk gets it.
func TestNameTakenAtLast(t *testing.T) {
	t.Parallel()
	var h *harness
	taken := false
	h = newHarnessWith(t, lab.Config{Before: func(call string) error {
		if call == "DisksClient.BeginCreateOrUpdate" && h.Attached(t, platformtest.NewCall(h, platformtest.Find).CE.Name) == 0 && taken {
			taken = false
			return h.cloud.AddDisk(lab.OutputGroup, "DISK-0", 1<<30)
		}
		return nil
	}})
	platformtest.Do(t, h, platformtest.Create, platformtest.AddDisk)
	taken = true
	err := platformtest.NewCall(h, platformtest.KeepDisk).Do(t.Context(), h.Open(t))
	if platforms.KindOf(err) != platforms.Foreign || taken {
		t.Errorf("the name was taken: %v", err)
	}
	if r, ok := h.resource("disk", "Disk-0"); !ok || len(r.Tags) > 0 {
		t.Errorf("what was made by somebody else is now %+v", r)
	}
	h.cloud.Remove(lab.OutputGroup, "Disk-0")
	platformtest.Do(t, h, platformtest.KeepDisk)
	platformtest.Clean(t, h)
}

// A copy that failed is no output: it is made again, or goes with the CE.
func TestFailedCopy(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, next := range []platformtest.Verb{platformtest.KeepDisk, platformtest.Destroy, platformtest.List} {
		platformtest.Do(t, h, platformtest.Create, platformtest.AddDisk)
		h.cloud.FailLater("DisksClient.BeginCreateOrUpdate", exhausted, 1)
		if err := platformtest.NewCall(h, platformtest.KeepDisk).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Full {
			t.Fatalf("it fails by %v", err)
		}
		r, ok := h.resource("disk", "Disk-0")
		if !ok || r.State != "Failed" {
			t.Fatalf("there is %+v", r)
		}
		ce := platformtest.NewCall(h, platformtest.Find).CE.Name
		if next == platformtest.List { // of a CE of which nothing else is left
			h.cloud.DeleteMachine(lab.Group, ce)
			for _, r := range h.cloud.Resources() {
				if r.Kind == "disk" && r.Group == lab.Group {
					h.cloud.Remove(r.Group, r.Name)
				}
			}
			listed, err := h.Open(t).List(t.Context())
			if err != nil || len(listed) != 1 || listed[0].Name != ce || listed[0].Ref != r.Ref {
				t.Errorf("listed are %+v, %v", listed, err)
			}
		} else {
			platformtest.Do(t, h, next)
		}
		if r, ok := h.resource("disk", "Disk-0"); next == platformtest.KeepDisk && r.State != "Succeeded" || next == platformtest.Destroy && ok {
			t.Errorf("after %s there is %+v", next, r)
		}
		platformtest.Clean(t, h)
	}
}

// A kept disk says what it is of, and is one of Windows.
func TestKeptDisk(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create, platformtest.AddDisk, platformtest.KeepDisk)
	r, ok := h.resource("disk", "Disk-0")
	call := platformtest.NewCall(h, platformtest.Find)
	if !ok || r.Tags["imageport-kept-from"] != call.CE.Name || r.Tags["imageport-job"] != call.CE.Job || r.Tags["imageport-owner"] != call.CE.Owner || r.Tags["imageport-ce"] != "" {
		t.Errorf("it is %+v", r)
	}
	_, err := h.Open(t).(platforms.OutputDisks).AddOutputDisk(t.Context(), call.CE.Name, call.Disk)
	if platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), "kept already") {
		t.Errorf("add it again: %v", err)
	}
	platformtest.Clean(t, h)
}

// A call that has been sent is waited for some time when its context ends: what
// it did is known when it returns.
func TestCallOutlastsContext(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Do(t, h, platformtest.Destroy)
	h.cloud.Hold("VirtualMachinesClient.BeginCreateOrUpdate", 400*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	call := platformtest.NewCall(h, platformtest.Create)
	if err := call.Do(ctx, h.Open(t)); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("cancelled: %v", err)
	}
	if _, ok := h.resource("virtualMachine", call.CE.Name); !ok {
		t.Error("it comes late")
	}
	platformtest.Clean(t, h)
}
