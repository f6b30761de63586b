package job

import (
	"bytes"
	"cmp"
	"encoding/json"
)

// ParseTarget reads from a request of any operation which platform it uses, and
// where on it. It takes what it finds: the rest of the request, and whether all
// is there that the platform needs, does not matter. The error is a BadRequest
// for what is no JSON object, or names no platform.
func ParseTarget(body []byte) (Target, error) {
	var t Target
	body = bytes.TrimPrefix(body, []byte("\ufeff")) // as editors on Windows write it
	body, err := wireKeys(body)
	if err != nil {
		return Target{}, err
	}
	if err := json.Unmarshal(body, &t); err != nil {
		return Target{}, Errorf(BadRequest, "Correct the JSON", "the request is not valid: %s", describeJSON(body, err))
	}
	if t.Platform = CanonicalPlatform(t.Platform); t.Platform == "" {
		return Target{}, Errorf(BadRequest, "Name the platform", "the request is not valid: platform is missing")
	}
	return t, nil
}

// Label names the platform for people, and for one that there may be several of
// also which: "vSphere vcenter.example.com". It does not say where on it.
func (t *Target) Label() string {
	label := CanonicalPlatform(t.Platform)
	if which := cmp.Or(t.VCenterHost, t.XenHost, t.SubscriptionID, t.GCPZone); which != "" && t.PlacedByRequest() {
		label += " " + which
	}
	return label
}

// PlacedByRequest reports whether only a request says where the platform is, as
// with those of the specification. The worker's configuration says all of the
// others.
func (t *Target) PlacedByRequest() bool {
	switch CanonicalPlatform(t.Platform) {
	case PlatformVSphere, PlatformXenServer, PlatformAzure, PlatformGCP:
		return true
	}
	return false
}
