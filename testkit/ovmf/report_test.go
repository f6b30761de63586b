package ovmf

import (
	"reflect"
	"testing"
)

func TestReportLines(t *testing.T) {
	const firmware = "\x1b[2J\x1b[01;01HBdsDxe: starting Boot0001\r\n"
	for name, test := range map[string]struct {
		lines  []string
		checks []Check
		passed bool
	}{
		"passed": {
			[]string{firmware, "ORACLE ok esp partition 1\r\n", "ORACLE ok winload started\r\n", "ORACLE VERDICT PASS\r\n"},
			[]Check{{"esp", true, "partition 1"}, {"winload", true, "started"}}, true,
		},
		"behind the firmware's escape sequences": {
			[]string{"\x1b[2J\x1b[01;01HORACLE ok winload started\r\n", "ORACLE VERDICT PASS\r\n"},
			[]Check{{"winload", true, "started"}}, true,
		},
		"failed": {
			[]string{"ORACLE ok esp\r\n", "ORACLE FAIL bcd-hive not a registry hive\r\n", "ORACLE VERDICT FAIL bcd-hive\r\n"},
			[]Check{{"esp", true, ""}, {"bcd-hive", false, "not a registry hive"}}, false,
		},
		"the loader that came back was not heard": {
			[]string{"ORACLE ok load-image x\r\n", "ORACLE VERDICT PASS\r\n"},
			[]Check{{"load-image", true, "x"}}, false,
		},
		"cut off": {[]string{firmware, "ORACLE ok esp"}, []Check{{"esp", true, ""}}, false},
		"nothing": {nil, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			var r Report
			for _, line := range test.lines {
				r.add(line)
			}
			if r.Passed != test.passed || !reflect.DeepEqual(r.Checks, test.checks) {
				t.Errorf("%+v", r)
			}
		})
	}
}
