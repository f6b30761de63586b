package wallet_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"imageport/job"
	"imageport/wallet"
)

const password = "s3cr3t-Pa55"

// gcpKey is a key file of a service account, with a stand-in for the key.
const gcpKey = `{"type":"service_account","project_id":"pvs-lab","private_key_id":"s3cr3t","client_email":"ce@pvs-lab.iam.gserviceaccount.com",` +
	`"private_key":"-----BEGIN PRIVATE KEY-----\ns3cr3ts3cr3t\n-----END PRIVATE KEY-----\n"}`

func passwordOf(t *testing.T, c wallet.Credential) string {
	t.Helper()
	u, err := c.UsernamePassword()
	if err != nil {
		t.Fatal(err)
	}
	return u.Password.Reveal()
}

// put writes the files of a wallet, with mode 0600.
func put(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCredential(t *testing.T) {
	const id = "pvs-smb"
	for name, tc := range map[string]struct {
		files            map[string]string
		username, domain string
		password         string
	}{
		"as the API has it": {map[string]string{"pvs-smb.json": `{"id":"pvs-smb","type":"UsernamePassword","username":"ips","domain":"test","password":"s3cr3t-Pa55"}`}, "ips", "test", password},
		"other case":        {map[string]string{"pvs-smb.json": `{"TYPE":"usernamepassword","UserName":"ips","PASSWORD":"s3cr3t-Pa55","createdAt":7}`}, "ips", "", password},
		"spaces stay":       {map[string]string{"pvs-smb.json": `{"username":"ips","password":" a\nb "}`}, "ips", "", " a\nb "},
		"mounted":           {map[string]string{"pvs-smb/username": "ips\n", "pvs-smb/password": password + "\r\n", "pvs-smb/domain": "test"}, "ips", "test", password},
		"mounted, no domain": {map[string]string{"pvs-smb/username": "ips", "pvs-smb/password": " a\n\n",
			"other.json": "{"}, "ips", "", " a\n"},
		"both": {map[string]string{"pvs-smb.json": `{"username":"file","password":"f"}`, "pvs-smb/username": "mounted",
			"pvs-smb/password": "m"}, "file", "", "f"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := wallet.Dir(put(t, tc.files)).Credential(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			user, err := got.UsernamePassword()
			if err != nil || got.ID != id || user.Username != tc.username || user.Domain != tc.domain || user.Password.Reveal() != tc.password {
				t.Errorf("got %v with password %q, %v", got, user.Password.Reveal(), err)
			}
		})
	}
}

// A Kubernetes secret is a directory of links into a directory that is exchanged.
func TestKubernetesMount(t *testing.T) {
	dir := put(t, map[string]string{"id/..2026_01_01/username": "ips", "id/..2026_01_01/password": password})
	for from, to := range map[string]string{"..data": "..2026_01_01", "username": "..data/username", "password": "..data/password"} {
		if err := os.Symlink(to, filepath.Join(dir, "id", from)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := wallet.Dir(dir).Credential(t.Context(), "id")
	if err != nil || passwordOf(t, got) != password {
		t.Errorf("%v, %v", got, err)
	}
}

// refused checks the error of a credential that there is not, or cannot be used.
func refused(t *testing.T, err error, in ...string) {
	t.Helper()
	var e *job.Error
	if !errors.As(err, &e) || e.Code != job.UnknownCredential || e.Remedy == "" {
		t.Fatalf("got %#v; want %s with a remedy", err, job.UnknownCredential)
	}
	for _, part := range in {
		if !strings.Contains(e.Error(), part) {
			t.Errorf("%q lacks %q", e, part)
		}
	}
	for err := error(e); err != nil; err = errors.Unwrap(err) {
		if s := fmt.Sprintf("%+v %#v", err, err); strings.Contains(s, "s3cr3t") {
			t.Errorf("the error shows the secret: %s", s)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		in    string
	}{
		"none":               {nil, `there is no credential "id"`},
		"only another":       {map[string]string{"other.json": "{}"}, `there is no credential "id"`},
		"file without .json": {map[string]string{"id": "x"}, `there is no credential "id"`},
		"not JSON":           {map[string]string{"id.json": `{"password":"s3cr3t-Pa55"s3cr3t}`}, "not valid JSON at byte 26"},
		"cut short":          {map[string]string{"id.json": `{"password":"s3cr3t`}, "not valid JSON"},
		"empty":              {map[string]string{"id.json": ``}, "not valid JSON"},
		"not an object":      {map[string]string{"id.json": `"s3cr3t"`}, "not a JSON object"},
		"number":             {map[string]string{"id.json": `{"username":"u","password":12345}`}, "strings as the values"},
		"other's":            {map[string]string{"id.json": `{"id":"pvs","username":"u","password":"s3cr3t"}`}, `holds the credential "pvs"`},
		"other type":         {map[string]string{"id.json": `{"type":"Azure","clientSecret":"s3cr3t"}`}, `no tenantId`},
		"no username":        {map[string]string{"id.json": `{"password":"s3cr3t"}`}, "no username"},
		"no password":        {map[string]string{"id.json": `{"username":"u"}`}, "no password"},
		"too big":            {map[string]string{"id.json": strings.Repeat(" ", 70000) + `{"username":"u","password":"s3cr3t"}`}, "more than 65536 bytes"},
		"mounted, empty":     {map[string]string{"id/other": "x"}, "no username"},
		"mounted, half":      {map[string]string{"id/username": "u"}, "no password"},
		"mounted, directory": {map[string]string{"id/username": "u", "id/password/x": "s3cr3t"}, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := put(t, tc.files)
			_, err := wallet.Dir(dir).Credential(t.Context(), "id")
			refused(t, err, dir, `"id"`, tc.in)
		})
	}
	_, err := wallet.Dir("/no/such/wallet").Credential(t.Context(), "id")
	refused(t, err, "/no/such/wallet", `"id"`)
}

func TestRights(t *testing.T) {
	dir := put(t, map[string]string{
		"id.json":          `{"username":"ips","password":"s3cr3t-Pa55"}`,
		"mounted/username": "ips",
		"mounted/password": password,
	})
	w := wallet.Dir(dir)
	for _, tc := range []struct{ id, file string }{{"id", "id.json"}, {"mounted", "mounted/username"}, {"mounted", "mounted/password"}} {
		path := filepath.Join(dir, tc.file)
		for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666, 0o777} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			_, err := w.Credential(t.Context(), tc.id)
			refused(t, err, path, fmt.Sprintf("%04o", mode), "chmod 600")
		}
		for _, mode := range []os.FileMode{0o400, 0o600, 0o700} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Credential(t.Context(), tc.id); err != nil {
				t.Errorf("%s, mode %04o: %v", tc.file, mode, err)
			}
		}
	}
}

func TestPathTricks(t *testing.T) {
	good := `{"username":"ips","password":"s3cr3t-Pa55"}`
	outer := put(t, map[string]string{"wallet/id.json": good, "outside.json": good, "secret/username": "ips", "secret/password": password})
	dir := filepath.Join(outer, "wallet")
	w := wallet.Dir(dir)
	if _, err := w.Credential(t.Context(), "id"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", ".", "..", "../outside", "../secret", "x/../id", "./id", "/etc/passwd", filepath.Join(outer, "outside"),
		`..\outside`, "id\x00", "id\n", ".id", "..data", "id/", "\xff", strings.Repeat("x", 129)} {
		_, err := w.Credential(t.Context(), id)
		refused(t, err, fmt.Sprintf("%q", id))
	}
	for link, to := range map[string]string{"a.json": "../outside.json", "b": "../secret", "c.json": filepath.Join(outer, "outside.json")} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
		_, err := w.Credential(t.Context(), strings.TrimSuffix(link, ".json"))
		refused(t, err, dir)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := w.Credential(t.Context(), "pipe")
	refused(t, err, "not a regular file")
}

func TestChangedPasswordCounts(t *testing.T) {
	dir := put(t, map[string]string{"id.json": `{"username":"u","password":"old"}`})
	w := wallet.Dir(dir)
	if c, err := w.Credential(t.Context(), "id"); err != nil || passwordOf(t, c) != "old" {
		t.Fatal(c, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "id.json"), []byte(`{"username":"u","password":"new"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := w.Credential(t.Context(), "id"); err != nil || passwordOf(t, c) != "new" {
		t.Error(c, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Credential(gone, "id"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// exported and unexported are callers' structs around a credential. Package
// fmt calls methods of the one's fields only.
type exported struct{ C wallet.Credential }
type unexported struct{ c wallet.Credential }

func TestRedaction(t *testing.T) {
	user := wallet.UsernamePassword{Username: "ips", Domain: "test", Password: wallet.NewSecret(password)}
	azure := wallet.Azure{TenantID: "t", ClientID: "c", ClientSecret: wallet.NewSecret(password)}
	gcp := wallet.GCP{ProjectID: "p", ClientEmail: "e", Key: wallet.NewSecret(password)}
	c := wallet.Credential{ID: "pvs-smb", Value: user}
	values := []any{c, &c, user.Password, &user.Password, map[wallet.Secret]int{user.Password: 1}}
	for _, value := range []wallet.Value{user, &user, azure, &azure, gcp, &gcp} {
		c := wallet.Credential{ID: "pvs-smb", Value: value}
		values = append(values, value, []wallet.Value{value}, struct{ V wallet.Value }{value}, struct{ v wallet.Value }{value}, c, &c,
			exported{c}, &exported{c}, unexported{c}, &unexported{c}, []wallet.Credential{c}, []any{c, &c}, map[string]wallet.Credential{"k": c})
	}
	var out bytes.Buffer
	for _, v := range values {
		for _, verb := range "vsqxXdtbcoeEfFgGUpT" {
			for _, flag := range []string{"", "+", "#", "-", " ", "0", "+#", "20", ".3"} {
				fmt.Fprintf(&out, "%"+flag+string(verb)+"\n", v)
			}
		}
		fmt.Fprintln(&out, v)
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
		if b, err := xml.Marshal(v); err == nil {
			out.Write(b)
		}
		gob.NewEncoder(&out).Encode(v)
		for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
			slog.New(h).With("with", v).WithGroup("g").Info("m", "credential", v, slog.Group("group", "v", v))
		}
		fmt.Fprintln(&out, fmt.Errorf("log on: %v", v))
	}
	shown := strings.ToLower(out.String())
	for what, secret := range map[string]string{
		"itself": password, "in part": password[:3], "in hexadecimal": fmt.Sprintf("%x", password),
		"in spaced hexadecimal": fmt.Sprintf("% x", password), "in bytes": strings.Trim(fmt.Sprint([]byte(password)), "[]"),
	} {
		if i := strings.Index(shown, strings.ToLower(secret)); i >= 0 {
			t.Errorf("the password shows %s: …%s…", what, shown[max(0, i-100):min(len(shown), i+100)])
		}
	}
	if !strings.Contains(shown, `credential "pvs-smb"`) || !strings.Contains(shown, "[redacted]") {
		t.Error("nothing was printed at all")
	}
	if got, want := fmt.Sprint(c), `credential "pvs-smb" (UsernamePassword, user "test\\ips")`; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	if b, err := json.Marshal(c); err != nil || string(b) != `{"id":"pvs-smb","type":"UsernamePassword","username":"ips","domain":"test"}` {
		t.Errorf("%s, %v", b, err)
	}
	if (wallet.Secret{}).Reveal() != "" {
		t.Error("the zero Secret is not empty")
	}
}

func FuzzFile(f *testing.F) {
	for _, seed := range []string{`{"username":"u","password":"p"}`, `{"Type":"UsernamePassword","USERNAME":"u","password":"p","domain":"d"}`,
		`{"password":"s3cr3t"x}`, `[]`, `null`, `{"id":null}`,
		`{"type":"azure","tenantId":"t","clientId":"c","secret":"s"}`, `{"type":"Gcp","key":` + gcpKey + `}`, gcpKey} {
		f.Add([]byte(seed))
	}
	path := filepath.Join(f.TempDir(), "id.json")
	w := wallet.Dir(filepath.Dir(path))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := w.Credential(t.Context(), "id")
		if err != nil {
			refused(t, err)
		} else if c.Validate() != nil || c.ID != "id" {
			t.Errorf("%q gives %v", b, c)
		}
	})
}
