package job_test

import (
	"testing"

	"imageport/job"
)

func TestParseTarget(t *testing.T) {
	for _, tc := range []struct {
		body, label string // no label: refused
		placed      bool
	}{
		{"\ufeff" + `{"PLATFORM":"vmware","vcenterhost":"vc.example.com","xenHost":"x","outputSizeMb":"no number"}`, "vSphere vc.example.com", true},
		{`{"platform":"XenServer","xenHost":"xen1"}`, "XenServer xen1", true},
		{`{"platform":"azure","subscriptionId":"s"}`, "Azure s", true},
		{`{"platform":"gcp"}`, "GCP", true},
		{`{"platform":"local","vCenterHost":"as in the examples"}`, "local", false},
		{`{"platform":"stub"}`, "stub", false},
		{body: `{"platform":" "}`},
		{body: `{"platform":7}`},
		{body: `{}`},
		{body: `[]`},
		{body: `{`},
		{body: ``},
	} {
		got, err := job.ParseTarget([]byte(tc.body))
		switch {
		case tc.label == "" && job.CodeOf(err) != job.BadRequest:
			t.Errorf("%s: %+v, %v", tc.body, got, err)
		case tc.label != "" && (err != nil || got.Label() != tc.label || got.PlacedByRequest() != tc.placed):
			t.Errorf("%s: %+v, %v; want %s", tc.body, got, err, tc.label)
		}
	}
}

// Whatever a body holds, reading its target gives an answer.
func FuzzParseTarget(f *testing.F) {
	f.Add([]byte(`{"platform":"vSphere","vCenterHost":"h","ceNetwork":{"address":"10.0.0.2/24"}}`))
	f.Add([]byte(`{"platform":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := job.ParseTarget(body)
		if (err == nil) != (got.Platform != "") || err != nil && job.CodeOf(err) != job.BadRequest {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
