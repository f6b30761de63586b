package job

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRedact(t *testing.T) {
	const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
	for text, want := range map[string]string{
		"nothing to hide":                                              "nothing to hide",
		"credentialId=files passwordless logon":                        "credentialId=files passwordless logon",
		"its token was used with two keys":                             "its token was used with two keys",
		"bearer authentication failed":                                 "bearer authentication failed",
		"password=hunter2 user=x":                                      "password=[redacted] user=x",
		"Password: hunter2, next":                                      "Password: [redacted], next",
		`{"password":"hun\"ter2","user":"x"}`:                          `{"password":[redacted],"user":"x"}`,
		`body="{\"clientSecret\":\"hunter2\",\"tenant\":1}"`:           `body="{\"clientSecret\":[redacted],\"tenant\":1}"`,
		"smbPassword='a b c' x":                                        "smbPassword=[redacted] x",
		"setup.exe PVSPASSWORD=hunter2 /qn":                            "setup.exe PVSPASSWORD=[redacted] /qn",
		"mount --password hunter2 --ro":                                "mount --password [redacted] --ro",
		"mount --password --ro":                                        "mount --password --ro",
		"api_key: abc123":                                              "api_key: [redacted]",
		"AccountKey=Zm9v==;EndpointSuffix=core":                        "AccountKey=[redacted];EndpointSuffix=core",
		"Authorization: Basic dXNlcjpwYXNz\r\nHost: x":                 "Authorization: [redacted]\r\nHost: x",
		"authorization: CWSAuth bearer=abc":                            "authorization: [redacted]",
		"with Bearer abcdefghijklmnop0123 now":                         "with Bearer [redacted] now",
		"CWSAuth bearer=x1":                                            "CWSAuth bearer=[redacted]",
		"got " + jwt + " back":                                         "got [redacted] back",
		"https://bob:hunter2@vc/sdk":                                   "https://[redacted]@vc/sdk",
		"smb://corp;bob@files/pvs":                                     "smb://corp;bob@files/pvs",
		"PUT https://x/blob?sv=1&sig=ab%2Bc&se=2":                      "PUT https://x/blob?sv=1&sig=[redacted]&se=2",
		"-----BEGIN RSA PRIVATE KEY-----\nMII\nabc":                    "-----BEGIN RSA PRIVATE KEY-----[redacted]",
		"-----BEGIN PRIVATE KEY-----\nM\n-----END PRIVATE KEY-----\nx": "-----BEGIN PRIVATE KEY-----[redacted]-----END PRIVATE KEY-----\nx",
		"AGE-SECRET-KEY-1QQQQ":                                         "[redacted]",
	} {
		if got := Redact(text); got != want {
			t.Errorf("%q:\n got %q\nwant %q", text, got, want)
		}
		if got := Redact(Redact(text)); got != want {
			t.Errorf("%q again: %q", text, got)
		}
	}
}

// A value is found in every form that a log may write it in.
func TestSecrets(t *testing.T) {
	var s Secrets
	const value = `p"a\ss <w>&ö rd`
	s.Add(value)
	s.Add("abc") // too short to be told from a word
	encoded, err := json.Marshal(map[string]string{"x": value})
	if err != nil {
		t.Fatal(err)
	}
	text := s.Redact(fmt.Sprintf("plain %s, quoted %q, json %s, abc", value, value, encoded))
	if strings.Contains(text, "rd") || strings.Contains(text, "ss") || strings.Count(text, Redacted) != 3 || !strings.HasSuffix(text, ", abc") {
		t.Errorf("%s", text)
	}
}

func TestRedactJSON(t *testing.T) {
	var v any
	if err := json.Unmarshal([]byte(`{"a":[{"clientSecret":"x","credentialId":"files","n":1,"note":"pwd=abc"}],"password":""}`), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(RedactJSON(v))
	if want := `{"a":[{"clientSecret":"[redacted]","credentialId":"files","n":1,"note":"pwd=[redacted]"}],"password":""}`; err != nil || string(b) != want {
		t.Errorf("%s, %v; want %s", b, err, want)
	}
}

// The newest lines are kept, whole ones, of each log and of all together.
func TestLogsAreBounded(t *testing.T) {
	line := strings.Repeat("ä", 49) + "\n" // 99 bytes
	var l Logs
	l.Add(Log{Source: LogCE, Name: "empty"})
	if len(l.Logs) != 0 {
		t.Error("a log without text was kept")
	}
	for i := range 6 {
		l.Add(Log{Source: LogCE, Name: fmt.Sprint(i), Text: strings.Repeat(line, 1000) + "end"})
	}
	total := 0
	for _, log := range l.Logs {
		if len(log.Text) > MaxLogBytes || !strings.HasPrefix(log.Text, line) || !strings.HasSuffix(log.Text, "\nend") || log.OmittedBytes != int64(99*1000+3-len(log.Text)) {
			t.Errorf("%s: %d bytes, %d omitted, begins %q", log.Name, len(log.Text), log.OmittedBytes, log.Text[:10])
		}
		total += len(log.Text)
	}
	if total > MaxLogsBytes || total < MaxLogsBytes-2*MaxLogBytes || l.Logs[len(l.Logs)-1].Name != "5" || len(l.Logs) != 4 {
		t.Errorf("%d bytes in %d logs", total, len(l.Logs))
	}
	for i := range 10000 {
		l.Add(Log{Source: LogPlatform, Name: strings.Repeat("n", 1000), Text: fmt.Sprint(i)})
	}
	if n := len(l.Logs); n > MaxLogsBytes/logOverhead || l.Logs[n-1].Text != "9999" || len(l.Logs[n-1].Name) > maxLogName {
		t.Errorf("%d logs", n)
	}
	if of := l.Of(LogGuest); len(of.Logs) != 0 {
		t.Errorf("%d logs of the guest", len(of.Logs))
	}
}

func TestTail(t *testing.T) {
	var tail Tail
	if log := tail.Log(LogCE, "x"); log.Text != "" || log.OmittedBytes != 0 {
		t.Errorf("%+v", log)
	}
	written := int64(0)
	for i := range 5000 {
		line := fmt.Sprintf("line %d %s", i, strings.Repeat("x", 30))
		written += int64(len(line) + 1)
		tail.Add(line)
	}
	log := tail.Log(LogCE, "x")
	if len(log.Text) > MaxLogBytes || log.OmittedBytes+int64(len(log.Text)) != written || !strings.HasPrefix(log.Text, "line ") || !strings.Contains(log.Text, "\nline 4999 ") {
		t.Errorf("%d bytes, %d omitted of %d", len(log.Text), log.OmittedBytes, written)
	}
	tail.Add(strings.Repeat("ö", 100_000))
	if log = tail.Log(LogCE, "x"); len(log.Text) > MaxLogBytes || !utf8.ValidString(log.Text) || !strings.HasSuffix(log.Text, "ö…\n") {
		t.Errorf("%d bytes", len(log.Text))
	}
}

// What customers' machines write is redacted whatever it is, and in bounds.
func FuzzLogs(f *testing.F) {
	f.Add("password=hunter2\n", "hunter2")
	f.Add("-----BEGIN PRIVATE KEY-----", "\xff\xfe")
	f.Add(`{"token":"\"x"}`, `\"x"`)
	f.Fuzz(func(t *testing.T, text, secret string) {
		var s Secrets
		s.Add(secret)
		if got := s.Redact(text); len(secret) >= minSecret && !strings.Contains(Redacted, secret) && strings.Contains(strings.ReplaceAll(got, Redacted, "\x00"), secret) && !strings.ContainsAny(secret, "\x00[]") {
			t.Errorf("%q is in %q", secret, got)
		}
		var l Logs
		l.Add(Log{Source: LogGuest, Name: secret, Text: text})
		for _, log := range l.Logs {
			if len(log.Text) > MaxLogBytes || !utf8.ValidString(log.Text) || !utf8.ValidString(log.Name) {
				t.Errorf("%+v", log)
			}
		}
	})
}
