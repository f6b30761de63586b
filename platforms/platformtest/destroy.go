package platformtest

import (
	"context"
	"testing"

	"imageport/platforms"
)

func testDestroyTwice(t *testing.T, h Harness) {
	d, ce := h.Open(t), spec(1)
	destroy(t, d, ce.Name) // there never was one
	create(t, d, ce)
	for range 2 {
		destroy(t, d, ce.Name)
		wantNothing(t, h, ce.Name)
	}
}

func testDestroyAtOnce(t *testing.T, h Harness) {
	ce := spec(1)
	drivers := []platforms.Driver{h.Open(t), h.Open(t)}
	create(t, drivers[0], ce)
	var errs [4]error
	atOnce(len(errs), func(i int) { errs[i] = drivers[i%2].Destroy(t.Context(), ce.Name) })
	for i, err := range errs {
		if err != nil {
			t.Errorf("destroyer %d: %v", i, err)
		}
	}
	wantNothing(t, h, ce.Name)
}

// A job that is reset asks for a CE that an earlier run began to remove: it
// must not get one that has been told to end.
func testDestroyCutCreate(t *testing.T, h Harness) {
	cuts(t, func(t *testing.T, n int) bool {
		ce := spec(n)
		old := create(t, h.Open(t), ce)
		finished := h.Cut(t, Call{Verb: Destroy, CE: ce}, n)
		d := h.Open(t)
		in := create(t, d, ce)
		wantOne(t, h, ce.Name)
		if found, err := d.Find(t.Context(), ce.Name); err != nil || found != in {
			t.Fatalf("Create gives %+v; Find gives %+v, %v", in, found, err)
		}
		if in == old {
			t.Fatal("Create gives the CE that is to go")
		}
		destroy(t, d, ce.Name)
		wantNothing(t, h, ce.Name)
		return finished
	})
}

func testCreateAndDestroy(t *testing.T, h Harness) {
	ce := spec(1)
	drivers := []platforms.Driver{h.Open(t), h.Open(t)}
	for range 4 {
		var errs [6]error
		atOnce(len(errs), func(i int) {
			if i%2 == 0 {
				_, errs[i] = drivers[0].Create(t.Context(), ce)
			} else {
				errs[i] = drivers[1].Destroy(t.Context(), ce.Name)
			}
		})
		for i, err := range errs {
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		if n := h.Agents(t, ce.Name); n > 1 {
			t.Errorf("%d agents", n)
		}
		destroy(t, drivers[0], ce.Name)
		wantNothing(t, h, ce.Name)
	}
}

func testList(t *testing.T, h Harness) {
	d := h.Open(t)
	wantList(t, d)
	ces := []platforms.Spec{spec(3), spec(1), spec(2)}
	ces[0].Owner = "another location" // List gives those of all owners
	for _, ce := range ces {
		create(t, d, ce)
	}
	h.Kill(t, spec(2).Name)
	intact := h.Plant(t, spec(4).Name)
	eventually(t, "one of three stopped", func() bool {
		listed := wantList(t, d, spec(1).Name, spec(2).Name, spec(3).Name)
		if listed[0].Owner != ces[1].Owner || listed[2].Owner != ces[0].Owner {
			t.Fatalf("List gives the owners of %+v", listed)
		}
		return listed[0].State == platforms.Running && listed[1].State == platforms.Stopped && listed[2].State == platforms.Running
	})
	destroy(t, d, spec(1).Name)
	wantList(t, h.Open(t), spec(2).Name, spec(3).Name)
	wantOne(t, h, spec(3).Name)
	if !intact() {
		t.Error("what somebody else made was touched")
	}
}

func testBadSpecs(t *testing.T, h Harness) {
	d := h.Open(t)
	for _, name := range []string{"", "ce-", "ce-xyz", "../ce-0123456789ab", "ce-0123456789ab/..", "CE-0123456789AB", "vm"} {
		ce := spec(1)
		ce.Name, ce.Seed.Name = name, name
		_, createErr := d.Create(t.Context(), ce)
		_, findErr := d.Find(t.Context(), name)
		for verb, err := range map[string]error{
			"Check":   d.Check(t.Context(), ce),
			"Create":  createErr,
			"Find":    findErr,
			"Stop":    d.Stop(context.Background(), name),
			"Destroy": d.Destroy(context.Background(), name),
		} {
			if platforms.KindOf(err) != platforms.BadRequest {
				t.Errorf("%s of %q: %v; want %s", verb, name, err, platforms.BadRequest)
			}
		}
	}
	if left := h.Leftovers(t); len(left) > 0 {
		t.Errorf("refused, and yet made: %q", left)
	}
}
