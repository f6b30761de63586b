package gcp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"

	"imageport/appliance/seedsource/media"
	"imageport/platforms"
)

// What is ours is found by labels. A label has no room for all of a mark: they
// are in the metadata of an instance and in the description of a disk.
const (
	labelCE    = "imageport-ce"    // the CE's name, on all that goes with it
	labelOwner = "imageport-owner" // of the CE, and of what it leaves
	labelKept  = "imageport-kept"  // the name of the CE that made a kept disk
	labelImage = "imageport-image" // on images of the appliance: its digest's beginning

	keyJob   = "imageport-job"
	keyRun   = "imageport-run"
	keyOwner = "imageport-owner"
	keySeed  = media.Attribute
)

// filterCE is the filter for what goes with a CE, or with any if name is "".
func filterCE(name string) *string {
	if name == "" {
		return proto.String("labels." + labelCE + ":*")
	}
	return proto.String("labels." + labelCE + "=" + name)
}

var labelPattern = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)

// label gives the value of a label for any text: itself if it can be one, or a
// hash of it.
func label(text string) string {
	if labelPattern.MatchString(text) {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + hex.EncodeToString(sum[:16])
}

// record is what a disk says of itself in its description.
type record struct {
	CE    string `json:"ce"`
	Job   string `json:"job"`
	Run   string `json:"run"`
	Owner string `json:"owner"`
	// Output is the name of the complete disk, "" of a CE's own disk.
	Output    string `json:"output,omitempty"`
	SizeBytes int64  `json:"sizeBytes,omitempty"`
}

// recordPrefix begins the descriptions that hold a record.
const recordPrefix = "imageport "

func (r record) String() string {
	b, _ := json.Marshal(r) // strings and a number: it cannot fail
	return recordPrefix + string(b)
}

// recordOf gives the record of a disk, and whether it has one.
func recordOf(d *computepb.Disk) (record, bool) {
	var r record
	text, ok := strings.CutPrefix(d.GetDescription(), recordPrefix)
	if !ok || json.Unmarshal([]byte(text), &r) != nil {
		return record{}, false
	}
	return r, true
}

// recordFor gives the record of what belongs to a CE.
func recordFor(ce platforms.Spec) record {
	return record{CE: ce.Name, Job: ce.Job, Run: ce.RunID, Owner: ce.Owner}
}

// labels are those of what goes with the CE.
func (r record) labels() map[string]string {
	return map[string]string{labelCE: r.CE, labelOwner: label(r.Owner)}
}

// keptLabels are those of what outlives it.
func (r record) keptLabels() map[string]string {
	return map[string]string{labelKept: r.CE, labelOwner: label(r.Owner)}
}

// item gives an item of an instance's metadata, "" if it is not there.
func item(m *computepb.Metadata, key string) string {
	for _, i := range m.GetItems() {
		if i.GetKey() == key {
			return i.GetValue()
		}
	}
	return ""
}

// items makes metadata of pairs of a key and a value.
func items(pairs ...string) []*computepb.Items {
	var all []*computepb.Items
	for i := 0; i+1 < len(pairs); i += 2 {
		all = append(all, &computepb.Items{Key: proto.String(pairs[i]), Value: proto.String(pairs[i+1])})
	}
	return all
}

// withSeed gives metadata with that seed, for the same state of an instance.
func withSeed(m *computepb.Metadata, seed string) *computepb.Metadata {
	changed := &computepb.Metadata{Fingerprint: m.Fingerprint}
	for _, i := range m.GetItems() {
		if i.GetKey() != keySeed {
			changed.Items = append(changed.Items, i)
		}
	}
	changed.Items = append(changed.Items, items(keySeed, seed)...)
	return changed
}
