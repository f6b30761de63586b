package main

import (
	"bytes"
	"strings"
	"testing"
)

// Outside of a Compositing Engine the program does nothing but say so.
func TestRunElsewhere(t *testing.T) {
	for _, test := range []struct {
		args            []string
		code            int
		out, complaints string
	}{
		{[]string{"imageport-ce", "version"}, 0, "imageport-ce ", ""},
		{[]string{"imageport-ce"}, 2, "", "usage: imageport-ce version"},
		{[]string{"imageport-ce", "version", "now"}, 2, "", "usage: "},
		{[]string{"imageport-ce", "help"}, 2, "", "usage: "},
		{nil, 2, "", "usage: "},
		{[]string{"imageport-ce", "agent"}, 1, "", "imageport-ce: this is for the inside of a Compositing Engine"},
		// Where there are no modules of the appliance, there is nothing to load.
		{[]string{"/sbin/modprobe", "-q", "--", "no-such-module"}, 1, "", ""},
	} {
		var out, complaints bytes.Buffer
		code := run(test.args, &out, &complaints)
		if code != test.code || !strings.HasPrefix(out.String(), test.out) || !strings.HasPrefix(complaints.String(), test.complaints) ||
			test.out == "" && out.Len() > 0 || test.complaints == "" && complaints.Len() > 0 {
			t.Errorf("%q: %d, %q, %q", test.args, code, out.String(), complaints.String())
		}
	}
}
