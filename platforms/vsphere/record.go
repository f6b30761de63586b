package vsphere

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/platforms"
)

// record is what a CE's VM knows of an output disk. Each has a key of its own:
// those who change one are not in the way of others.
type record struct {
	// Name and Partial are the datastore paths of the complete disk, and of the
	// disk until then.
	Name      string            `json:"name"`
	Partial   string            `json:"partial"`
	SizeBytes int64             `json:"sizeBytes"`
	Provision job.ProvisionType `json:"provision"`
	State     diskState         `json:"state,omitempty"`
}

// diskState is how far an output disk is on its way.
type diskState string

const (
	stateAttached diskState = ""         // it is the CE's
	stateDetached diskState = "detached" // complete, and about to get its name
	stateKept     diskState = "kept"     // it has its name, and is not ours
)

func recordKey(name string) string {
	sum := sha256.Sum256([]byte(name))
	return keyOutput + hex.EncodeToString(sum[:8])
}

// record gives the record of the disk.
func (v *vm) record(n diskName) (r record, known bool, err error) {
	text := v.extra[recordKey(n.String())]
	if text == "" {
		return r, false, nil
	}
	r, err = parseRecord(text)
	return r, true, err
}

// records gives all of them, in an order that is always the same.
func (v *vm) records() ([]record, error) {
	var keys []string
	for key, text := range v.extra {
		if strings.HasPrefix(key, keyOutput) && text != "" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var all []record
	for _, key := range keys {
		r, err := parseRecord(v.extra[key])
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func parseRecord(text string) (record, error) {
	var r record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return r, platforms.Errorf(platforms.Internal, "the CE's record of an output disk, %.100q, cannot be read: %w", text, err)
	}
	return r, nil
}

// settings gives what records r.
func settings(r record) ([]types.BaseOptionValue, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", r.Name, err)
	}
	return options(recordKey(r.Name), string(b)), nil
}
