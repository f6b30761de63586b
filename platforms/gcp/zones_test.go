package gcp

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"imageport/lab/gce"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

const stockOut = "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"

func zoneOf(t *testing.T, h *simHarness) string { return h.vm(t, platformtest.NewSpec().Name).zone }

// A zone that has no room is left at once for the next one; a CE is found there by
// all verbs.
func TestStockOut(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"ZONE_RESOURCE_POOL_EXHAUSTED", stockOut, "QUOTA_EXCEEDED"} {
		h := newHarness(t)
		zones := h.cloud.Zones()
		h.cloud.StockOut(zones[0], code)
		h.cloud.StockOut(zones[1], stockOut)
		platformtest.Do(t, h, platformtest.Create)
		if got := zoneOf(t, h); got != zones[2] {
			t.Errorf("%s: it is in %s", code, got)
		}
		h.cloud.StockOut(zones[0], "")
		h.cloud.StockOut(zones[1], "")
		platformtest.Do(t, h,
			platformtest.Check, platformtest.Find, platformtest.AddDisk, platformtest.Stop, platformtest.Restart, platformtest.AddDisk, platformtest.KeepDisk, platformtest.List,
		)
		if got := zoneOf(t, h); got != zones[2] {
			t.Errorf("%s: it went to %s", code, got)
		}
		if h.cloud.DiskFile(zones[2], h.OutputDisk(0).Name) == "" {
			t.Error("the output disk is not where the CE is")
		}
		if err := platformtest.NewCall(h, platformtest.CheckDisk).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Foreign {
			t.Errorf("the name is taken in %s: %v", zones[2], err)
		}
		platformtest.Clean(t, h)
	}
}

func TestAllZonesFull(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, zone := range h.cloud.Zones() {
		h.cloud.StockOut(zone, stockOut)
	}
	_, err := h.Open(t).Create(t.Context(), platformtest.NewSpec())
	if platforms.KindOf(err) != platforms.Full || !strings.Contains(err.Error(), stockOut) {
		t.Errorf("%v", err)
	}
	for _, zone := range h.cloud.Zones() {
		if !strings.Contains(err.Error(), zone) {
			t.Errorf("%v does not name %s", err, zone)
		}
	}
	if left := h.Leftovers(t); len(left) > 0 {
		t.Errorf("it leaves %q", left)
	}
	h.cloud.StockOut(h.cloud.Zones()[1], "")
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Do(t, h, platformtest.Stop)
	h.cloud.StockOut(h.cloud.Zones()[1], stockOut)
	if err := platformtest.NewCall(h, platformtest.Restart).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Full || !strings.Contains(err.Error(), h.cloud.Zones()[1]) {
		t.Errorf("a restart where there is no room: %v", err)
	}
	h.cloud.StockOut(h.cloud.Zones()[1], "")
	h.cloud.Quota(1)
	other := platformtest.NewSpec()
	other.Name = "ce-ffffffffffff"
	other.Seed.Name = other.Name
	if _, err := h.Open(t).Create(t.Context(), other); platforms.KindOf(err) != platforms.Full || !strings.Contains(err.Error(), "Quota 'INSTANCES' exceeded") {
		t.Errorf("%v", err)
	}
	platformtest.Do(t, h, platformtest.Restart)
	platformtest.Clean(t, h)
}

// Of two creators, one has found the first zone full and one has not. In the end
// there is one CE: the one that was made first, whichever that is.
func TestTwoZonesAtOnce(t *testing.T) {
	t.Parallel()
	for _, firstZone := range []int{0, 1} {
		h := newHarness(t)
		zones := h.cloud.Zones()
		platformtest.Do(t, h, platformtest.Create) // the image is there
		platformtest.Clean(t, h)
		var held atomic.Bool
		var second platforms.Instance
		var secondErr error
		h.cloud.StockOut(zones[0], stockOut)
		late := zones[1] // where the call is held up until the other is through
		if firstZone == 1 {
			late = zones[0]
			h.cloud.StockOut(zones[0], "")
		}
		h.asked(func(c gce.Call) error {
			if c.Method != "compute.instances.insert" || c.Zone != late || held.Swap(true) {
				return nil
			}
			code := ""
			if firstZone == 1 {
				code = stockOut
			}
			h.cloud.StockOut(zones[0], code)
			second, secondErr = h.Open(t).Create(context.Background(), platformtest.NewSpec())
			h.cloud.StockOut(zones[0], "")
			return nil
		})
		first, err := h.Open(t).Create(t.Context(), platformtest.NewSpec())
		if err != nil || secondErr != nil || first != second {
			t.Errorf("one creator got %+v, %v; the other got %+v, %v", first, err, second, secondErr)
		}
		if n, got := h.Agents(t, platformtest.NewSpec().Name), zoneOf(t, h); n != 1 || got != zones[firstZone] {
			t.Errorf("%d CEs, one in %s; want one in %s", n, got, zones[firstZone])
		}
		h.asked(nil)
		platformtest.Clean(t, h)
	}
}

// Many creators, zones that have room for one and not for the next, and one CE.
func TestZonesAtRandom(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Clean(t, h)
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(1, 2))
	h.asked(func(c gce.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if c.Method == "compute.instances.insert" && dice.IntN(2) == 0 {
			return &gce.Fault{Status: 503, Code: stockOut, Message: "no room"}
		}
		return nil
	})
	for range 12 {
		var got [5]platforms.Instance
		var wg sync.WaitGroup
		for i := range got {
			d := h.Open(t)
			wg.Go(func() {
				for try := 0; try < 20; try++ {
					in, err := d.Create(t.Context(), platformtest.NewSpec())
					if err == nil {
						got[i] = in
						return
					}
					if platforms.KindOf(err) != platforms.Full {
						t.Errorf("creator %d: %v", i, err)
						return
					}
				}
				t.Errorf("creator %d found no room", i)
			})
		}
		wg.Wait()
		for i := range got {
			if got[i] != got[0] {
				t.Errorf("creator %d got %+v; creator 0 got %+v", i, got[i], got[0])
			}
		}
		if n := h.Agents(t, platformtest.NewSpec().Name); n != 1 {
			t.Errorf("%d CEs", n)
		}
		platformtest.Clean(t, h)
	}
}

// With one request id for all attempts, each would be told how the first one went.
func TestRequestIDs(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.cfg.RequestID = func() string { return "00000000-0000-4000-8000-000000000001" }
	h.cloud.StockOut(h.cloud.Zones()[0], stockOut)
	h.where.GCPZones = ""
	for _, room := range []bool{false, true} {
		if room {
			h.cloud.StockOut(h.cloud.Zones()[0], "")
		}
		if _, err := h.Open(t).Create(t.Context(), platformtest.NewSpec()); platforms.KindOf(err) != platforms.Full {
			t.Errorf("the same request id, room: %v: %v", room, err)
		}
	}
	h.cfg.RequestID = nil
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Clean(t, h)
}

// What a failed attempt leaves is removed, unless another attempt has made it.
func TestRemoveFailed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	v := h.vm(t, platformtest.NewSpec().Name)
	if err := h.eye.removeFailed(t.Context(), v.zone, v.GetName(), v.GetId()+1); err != nil || h.Agents(t, v.GetName()) != 1 {
		t.Errorf("of another attempt: %v", err)
	}
	if err := h.eye.removeFailed(t.Context(), v.zone, v.GetName(), v.GetId()); err != nil || h.Agents(t, v.GetName()) != 0 {
		t.Errorf("its own: %v", err)
	}
	if err := h.eye.removeFailed(t.Context(), v.zone, v.GetName(), v.GetId()); err != nil {
		t.Errorf("gone: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.eye.removeFailed(gone, v.zone, v.GetName(), v.GetId()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
