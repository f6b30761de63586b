package xenserver

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	labxapi "imageport/lab/xapi"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// Workers that know nothing of each other create one CE at once, and each of their
// calls comes at any time: never are two VMs elected, all get the same CE, and there
// is nothing else in the end.
func TestElection(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create) // the appliance is there
	platformtest.Clean(t, h)
	call := platformtest.NewCall(h, platformtest.Create)
	var seen struct {
		sync.Mutex
		most, candidates int
	}
	h.lab.Hook(func(labxapi.Call) bool {
		winners, all := 0, 0
		for _, v := range h.lab.VMs() {
			if v.Name == call.CE.Name {
				all++
				if v.OtherConfig[keyVerdict] == elected && v.OtherConfig[keyEnding] == "" {
					winners++
				}
			}
		}
		seen.Lock()
		defer seen.Unlock()
		seen.most, seen.candidates = max(seen.most, winners), max(seen.candidates, all)
		return true
	})
	for round := range 15 {
		random := rand.New(rand.NewPCG(1, uint64(round)))
		var mu sync.Mutex
		cfg := h.config()
		cfg.Wrap = func(inner http.RoundTripper) http.RoundTripper {
			return way(func(req *http.Request) (*http.Response, error) {
				mu.Lock()
				wait := time.Duration(random.IntN(2000)) * time.Microsecond
				mu.Unlock()
				time.Sleep(wait)
				return inner.RoundTrip(req)
			})
		}
		const creators = 4
		got, errs := [creators]platforms.Instance{}, [creators]error{}
		var wg sync.WaitGroup
		for i := range creators {
			d := h.open(t, cfg, h.where)
			wg.Go(func() { got[i], errs[i] = d.Create(t.Context(), call.CE) })
		}
		wg.Wait()
		for i := range creators {
			if errs[i] != nil || got[i] != got[0] {
				t.Fatalf("round %d: creator %d got %+v, %v; creator 0 got %+v", round, i, got[i], errs[i], got[0])
			}
		}
		if all := h.ceVMs(t, call.CE.Name); len(all) != 1 || !all[0].on() {
			t.Fatalf("round %d: there are %d VMs", round, len(all))
		}
		var disks []string
		for _, v := range h.allVDIs(t) {
			disks = append(disks, v.Name)
		}
		slices.Sort(disks)
		if len(disks) != 2 || disks[0] != call.CE.Name || !strings.HasPrefix(disks[1], "imageport-ce ") {
			t.Fatalf("round %d: there are the VDIs %q", round, disks)
		}
		platformtest.Clean(t, h)
	}
	if seen.most != 1 {
		t.Errorf("%d VMs were elected at the same time", seen.most)
	}
	if seen.candidates < 2 {
		t.Error("there never was more than one VM to elect")
	}
	t.Logf("up to %d VMs at once", seen.candidates)
}

// What is left of an election goes with it: VMs that others made, whoever died when.
func TestElectionLeftovers(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := platformtest.NewCall(h, platformtest.Create)
	for what, verdicts := range map[string][]string{
		"two that are undecided":             {"", ""},
		"two that are rejected":              {rejected, rejected},
		"one elected, one rejected":          {elected, rejected},
		"one elected, two undecided":         {elected, "", ""},
		"two elected, by whatever":           {elected, elected},
		"one rejected, which is all":         {rejected},
		"one that is undecided, one elected": {"", elected},
	} {
		var winner string
		for i, verdict := range verdicts {
			m := newMarks(call.CE, time.Now().Add(time.Duration(i)*time.Second))
			if verdict != "" {
				m[keyVerdict] = verdict
			}
			ref := h.plantVM(t, call.CE.Name, m)
			if verdict == elected && !slices.Contains(verdicts[:i], elected) {
				winner = h.allVMs(t)[ref].UUID
			}
		}
		in, err := h.Open(t).Create(t.Context(), call.CE)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if slices.Index(verdicts, elected) >= 0 && !strings.HasSuffix(in.Ref, winner) && strings.Count(strings.Join(verdicts, ""), elected) == 1 {
			t.Errorf("%s: the CE is %s, elected was %s", what, in.Ref, winner)
		}
		if all := h.ceVMs(t, call.CE.Name); len(all) != 1 || !all[0].on() {
			t.Errorf("%s: there are %d VMs", what, len(all))
		}
		platformtest.Clean(t, h)
	}
}
