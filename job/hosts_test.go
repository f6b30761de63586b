package job_test

import (
	"strings"
	"testing"

	"imageport/job"
)

func TestHostsAllow(t *testing.T) {
	for _, tc := range []struct {
		hosts   string
		allowed string
		refused string
	}{
		{"", "files.example.com 10.0.0.1 :: anything!", ""},
		{"files.example.com", "files.example.com FILES.example.COM files.example.com.", "evil.example.com files.example.com.evil.org xfiles.example.com files 10.0.0.1"},
		{"Files.Example.com.", "files.example.com", "example.com"},
		{"*.example.com", "files.example.com a.b.example.com A.EXAMPLE.COM", "example.com .example.com evilexample.com files.example.com.evil.org *.example.com 10.0.0.1"},
		{"10.1.2.3", "10.1.2.3 ::ffff:10.1.2.3 [::ffff:a01:203]", "10.1.2.30 10.1.2 167838211 0x0a.1.2.3 010.1.2.3 10.1.2.3.example.com 10.1.2.3."},
		{"10.1.0.0/16 fd00:7::/32", "10.1.255.255 fd00:7::1 [fd00:7::1] ::ffff:10.1.0.1", "10.2.0.0 fd00:8::1 fd00:7::1%eth0 files.example.com 10.1"},
		{"fe80::1%eth0", "fe80::1%eth0 FE80::1%eth0", "fe80::1 fe80::1%eth1"},
		{"::ffff:10.0.0.1", "10.0.0.1", "::10.0.0.1"},
		{"0.0.0.0/0", "1.2.3.4", "::1 files.example.com localhost"},
		{"localhost fileserver", "localhost FileServer", "127.0.0.1 ::1 fileserver.example.com"},
		// What looks alike is not the same.
		{"kelvin.example.com", "KELVIN.example.com", "\u212aelvin.example.com kelvin\u3002example.com kelvin.example.com\x00 kelvin.example.com:445 kelvin.example.com/x"},
		{"*.example.com", "x_y-1.example.com", "a\x00.example.com evil.org#.example.com evil.org:1.example.com -\u00e4.example.com a..example.com"},
	} {
		h := job.Hosts(strings.Fields(tc.hosts))
		if err := h.Validate(); err != nil {
			t.Errorf("%q: %v", tc.hosts, err)
		}
		for _, host := range strings.Fields(tc.allowed) {
			if !h.Allow(host) || h.Check("files", host) != nil {
				t.Errorf("%q refuses %q", tc.hosts, host)
			}
		}
		for _, host := range append(strings.Split(tc.refused, " "), "") {
			if len(h) > 0 && (h.Allow(host) || job.CodeOf(h.Check("files", host)) != job.CredentialNotForHost) {
				t.Errorf("%q allows %q", tc.hosts, host)
			}
		}
	}
}

func TestHostsCheck(t *testing.T) {
	err := job.Hosts{"secret.example.com"}.Check("files", "evil.example.com")
	if err == nil || !strings.Contains(err.Error(), `"files" is not for the host "evil.example.com"`) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	if job.CredentialNotForHost.Transient() {
		t.Error("another attempt would not help")
	}
}

func TestHostsValidate(t *testing.T) {
	if err := make(job.Hosts, 257).Validate(); err == nil || !strings.Contains(err.Error(), "257 hosts, and 256") {
		t.Error(err)
	}
	for says, bad := range map[string][]string{
		"empty":            {"", "."},
		"port":             {"files.example.com:445", "10.0.0.1:445", "[::1]"},
		"star":             {"*", "*.", "files.*", "a*.example.com", "*.*.com"},
		"no network":       {"10.0.0.0/33", "/8", "files.example.com/share", "fe80::%eth0/10"},
		"one or the other": {"10.1.2.3/16"},
		"as such":          {"::ffff:10.0.0.0/104"},
		"no name":          {`\\files`, "a b", "a..b", ".example.com", "b\u00fccher.example", "a,b", strings.Repeat("a", 64) + ".example.com", "a\nb"},
		"whole address":    {"10.1", "127.1", "300.1.2.3", "0x7f.1", "2130706433"},
		"too long":         {strings.Repeat("a.", 127) + "example"},
	} {
		for _, p := range bad {
			if err := (job.Hosts{"good.example.com", p}).Validate(); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%q: %v; want %q", p, err, says)
			}
		}
	}
}

func FuzzHosts(f *testing.F) {
	f.Add("*.example.com", "files.example.com")
	f.Add("10.0.0.0/8", "10.1.2.3")
	f.Add("fe80::1%eth0", "[::ffff:1.2.3.4]")
	f.Fuzz(func(t *testing.T, pattern, host string) {
		h := job.Hosts{pattern}
		if h.Validate() != nil {
			return
		}
		if h.Allow(host) && strings.ContainsAny(host, "/\\@ #\x00,") {
			t.Errorf("%q allows %q", pattern, host)
		}
		if !strings.ContainsAny(pattern, "*/") && !h.Allow(pattern) {
			t.Errorf("%q does not allow itself", pattern)
		}
	})
}
