package job_test

import (
	"encoding/json"
	"testing"
	"time"

	"imageport/job"
)

func TestPeriod(t *testing.T) {
	for in, want := range map[string]string{`"90m"`: "1h30m", `"2h"`: "2h", `"0s"`: "0s", `"10m"`: "10m", `"20s"`: "20s", `"1h0m5s"`: "1h0m5s", `"1.4s"`: "1s"} {
		var p job.Period
		if err := json.Unmarshal([]byte(in), &p); err != nil || p.String() != want {
			t.Errorf("%s: %v, %v; want %s", in, p, err, want)
		}
		b, err := json.Marshal(p)
		var again job.Period
		if err != nil || json.Unmarshal(b, &again) != nil || again != p {
			t.Errorf("%s: written as %s, %v", in, b, err)
		}
	}
	for _, in := range []string{`30`, `"30"`, `"-1m"`, `""`, `{}`} {
		if err := json.Unmarshal([]byte(in), new(job.Period)); err == nil {
			t.Errorf("%s was taken", in)
		}
	}
}

// What one sweep tells the next one survives being written down.
func TestSweepTargetAsJSON(t *testing.T) {
	in := job.SweepTarget{CEs: 2, LastUsed: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	in.Platform, in.VCenterHost, in.PlatformCredentialID = job.PlatformVSphere, "vc", "vcred"
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out job.SweepTarget
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("%s became %+v, %v", b, out, err)
	}
}
