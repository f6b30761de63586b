package config

import (
	"strings"
	"testing"
)

func TestObserve(t *testing.T) {
	for _, test := range []struct{ text, bad string }{
		{"", ""},
		{"[log]\nformat = \"json\"\nlevel = \"warn\"\n[metrics]\nlisten = \"127.0.0.1:9464\"\n[traces]\nendpoint = \"http://127.0.0.1:4318\"\nsample = 0.1\n[versioning]\ndeployment = \"imageport\"\nbuild_id = \"2\"\nbehavior = \"pinned\"", ""},
		{"[metrics]\nlisten = \"9464\"", "metrics.listen"},
		{"[metrics]\nlisten_api = \"9465\"", "metrics.listen_api"},
		{"[traces]\nsample = 1.5", "traces.sample"},
		{"[versioning]\nbuild_id = \"2\"", "give a deployment"},
		{"[versioning]\ndeployment = \"d\"\nbehavior = \"random\"", "versioning.behavior"},
		{"[metrics]\nlistens = \"127.0.0.1:9464\"", "unknown key"},
	} {
		c, err := parse(test.text)
		if err == nil {
			_, err = complete(c, t.TempDir())
		}
		if test.bad == "" && err != nil || test.bad != "" && (err == nil || !strings.Contains(err.Error(), test.bad)) {
			t.Errorf("%q: %v", test.text, err)
		}
	}
}
