package azure_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// A worker dies in the middle of the upload of the appliance. Whatever it left
// goes with its CE, and is in nobody's way.
func TestUploadCut(t *testing.T) {
	for _, second := range []platformtest.Verb{platformtest.Create, platformtest.Destroy, platformtest.List} {
		t.Run(string(second), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			for n := 0; ; n++ {
				h.cloud.RemoveImages()
				finished := h.Cut(t, testCall(h, platformtest.Create), n)
				if second == platformtest.List {
					d := h.Open(t)
					ces, err := d.List(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					for _, ce := range ces {
						if err := d.Destroy(t.Context(), ce.Name); err != nil {
							t.Fatal(err)
						}
					}
					if left := h.Leftovers(t); len(left) > 0 {
						t.Errorf("after step %d: a sweep leaves %q", n, left)
					}
				} else {
					do(t, h, second)
				}
				if second == platformtest.Create && h.Agents(t, testCall(h, second).CE.Name) != 1 {
					t.Errorf("after step %d: the CE does not run", n)
				}
				clean(t, h)
				if finished {
					if n < 8 {
						t.Errorf("only %d steps", n)
					}
					return
				}
			}
		})
	}
}

// Workers that need the appliance at the same time make one image of it, with
// its content.
func TestUploadAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	drivers := []platforms.Driver{h.Open(t), h.Open(t), h.Open(t)}
	errs := make([]error, 2*len(drivers))
	spec := func(i int) platforms.Spec {
		ce := testCall(h, platformtest.Create).CE
		ce.Name = fmt.Sprintf("ce-%012x", i%4) // some for the same CE
		ce.Seed.Name = ce.Name
		return ce
	}
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = drivers[i%len(drivers)].Create(t.Context(), spec(i)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	var images, osDisks []string
	for _, r := range h.cloud.Resources() {
		switch {
		case r.Kind == "imageVersion":
			images = append(images, r.Name)
		case r.Kind == "disk":
			osDisks = append(osDisks, r.Name)
			if b := h.ReadOutput(t, r.Name, 9<<20-5, 5); string(b) != "end\x00\x00" {
				t.Errorf("%s ends with %q", r.Name, b)
			}
		}
	}
	if len(images) != 1 || len(osDisks) != 4 {
		t.Errorf("images %q, disks %q", images, osDisks)
	}
	for i := range 4 {
		if err := drivers[0].Destroy(t.Context(), spec(i).Name); err != nil {
			t.Error(err)
		}
	}
	if left := h.Leftovers(t); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
}
