package job

import (
	"strings"
	"testing"
)

// Options that could mean two things, or nothing, are refused by name.
func TestUEFIOptions(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  UEFIOptions
		want string // in the refusal; "" is none
	}{
		{"nothing", UEFIOptions{}, ""},
		{"all", UEFIOptions{ESPPlacement: []ESPPlacement{"Shrink", "GAP"}, BootManager: BootManager2023, PartitionTypes: map[string]string{"0x83": PartitionData, "0x0d": "0fc63daf-8483-4772-8e79-3d69d8477de4"}}, ""},
		{"placement", UEFIOptions{ESPPlacement: []ESPPlacement{"behind"}}, `"behind"`},
		{"boot manager", UEFIOptions{BootManager: "2019"}, `"2019"`},
		{"type of no partition", UEFIOptions{PartitionTypes: map[string]string{"0": PartitionData}}, `"0"`},
		{"type that does not fit", UEFIOptions{PartitionTypes: map[string]string{"0x100": PartitionData}}, `"0x100"`},
		{"what is not known", UEFIOptions{PartitionTypes: map[string]string{"0x83": "linux"}}, `"linux"`},
		{"one type by two names", UEFIOptions{PartitionTypes: map[string]string{"131": PartitionData, "0x83": PartitionOEM}}, "the same type"},
		{"no type at all", UEFIOptions{PartitionTypes: map[string]string{"0x83": "00000000-0000-0000-0000-000000000000"}}, "can become"},
		{"a second ESP", UEFIOptions{PartitionTypes: map[string]string{"0x83": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"}}, "can become"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.opt.Validate()
			if c.want == "" && err != nil {
				t.Error(err)
			}
			if c.want != "" && (CodeOf(err) != BadRequest || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %s with %q", err, BadRequest, c.want)
			}
		})
	}
}
