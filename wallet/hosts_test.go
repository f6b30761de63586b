package wallet_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"imageport/job"
	"imageport/wallet"
)

// Hosts in every form in which a credential may have them.
func TestHosts(t *testing.T) {
	const rest = `"username":"u","password":"s3cr3t"}`
	for name, tc := range map[string]struct {
		files  map[string]string
		hosts  string
		refuse string
	}{
		"none":            {map[string]string{"id.json": `{` + rest}, "", ""},
		"null":            {map[string]string{"id.json": `{"hosts":null,` + rest}, "", ""},
		"list":            {map[string]string{"id.json": `{"Hosts":["a.example.com","*.Example.com","10.0.0.0/8"],` + rest}, "a.example.com *.Example.com 10.0.0.0/8", ""},
		"one string":      {map[string]string{"id.json": `{"hosts":"a, b\n10.1.2.3",` + rest}, "a b 10.1.2.3", ""},
		"mounted":         {map[string]string{"id/hosts": "a\n*.b\r\n", "id/username": "u", "id/password": "s3cr3t"}, "a *.b", ""},
		"empty list":      {map[string]string{"id.json": `{"hosts":[],` + rest}, "", "hosts are none"},
		"empty string":    {map[string]string{"id.json": `{"hosts":" ",` + rest}, "", "hosts are none"},
		"mounted, empty":  {map[string]string{"id/hosts": "\n", "id/username": "u", "id/password": "s3cr3t"}, "", "hosts are none"},
		"number":          {map[string]string{"id.json": `{"hosts":7,` + rest}, "", "neither a list"},
		"list of numbers": {map[string]string{"id.json": `{"hosts":[7],` + rest}, "", "neither a list"},
		"with a port":     {map[string]string{"id.json": `{"hosts":["a:445"],` + rest}, "", "a port is not part of it"},
		"star":            {map[string]string{"id.json": `{"hosts":"*",` + rest}, "", "leave hosts out for any host"},
		"Azure":           {map[string]string{"id.json": `{"type":"Azure","identity":"managed","hosts":["a"]}`}, "", "hosts, which are for the type UsernamePassword"},
	} {
		t.Run(name, func(t *testing.T) {
			w := wallet.Dir(put(t, tc.files))
			c, err := w.Credential(t.Context(), "id")
			if tc.refuse != "" {
				refused(t, err, `"id"`, tc.refuse)
				return
			}
			if err != nil || strings.Join(c.Hosts, " ") != tc.hosts {
				t.Errorf("%v, %v", c.Hosts, err)
			}
			if m, err := w.Describe(t.Context(), "id"); err != nil || !slices.Equal(m.Hosts, c.Hosts) {
				t.Errorf("%+v, %v", m, err)
			}
		})
	}
	f, cfg := newVault(t)
	f.set("auth/approle/login", 0, "")
	f.set("secret/data/imageport/id", 200, secret(`{"hosts":"a.example.com,b.example.com",`+rest, 1))
	cfg.RoleID, cfg.SecretIDFile, cfg.TokenFile = "", "", strings.Replace(cfg.CAFile, "ca.pem", "token", 1)
	f.tokens["s3cr3t-token"] = true
	c, err := f.open(cfg).Credential(t.Context(), "id")
	if err != nil || strings.Join(c.Hosts, " ") != "a.example.com b.example.com" {
		t.Errorf("Vault: %v, %v", c.Hosts, err)
	}
}

func TestUsernamePasswordFor(t *testing.T) {
	c := user("files", password)
	if _, err := c.UsernamePasswordFor("evil.example.org"); err != nil {
		t.Errorf("one for any host: %v", err)
	}
	c.Hosts = job.Hosts{"*.example.com"}
	if u, err := c.UsernamePasswordFor("files.example.com"); err != nil || u.Password.Reveal() != password {
		t.Error(err)
	}
	for _, host := range []string{"evil.example.org", "example.com", ""} {
		u, err := c.UsernamePasswordFor(host)
		if job.CodeOf(err) != job.CredentialNotForHost || u.Password.Reveal() != "" || u.Username != "" {
			t.Errorf("%q: %v, %v", host, u, err)
		}
	}
	_, err := wallet.Credential{ID: "cloud", Value: wallet.Azure{}}.UsernamePasswordFor("a")
	refused(t, err, "of type Azure")
}

// A new password leaves the hosts as they are.
func TestReplaceKeepsHosts(t *testing.T) {
	file, _, _ := newFile(t)
	dir := t.TempDir()
	for name, w := range map[string]interface {
		wallet.Catalog
		wallet.Editor
	}{"file": file, "dir": wallet.Dir(dir)} {
		t.Run(name, func(t *testing.T) {
			steps := []struct {
				hosts job.Hosts
				want  string
			}{{job.Hosts{"a", "b"}, "a b"}, {nil, "a b"}, {job.Hosts{"c"}, "c"}, {wallet.AnyHost, ""}, {nil, ""}}
			for i, step := range steps {
				c := user("files", fmt.Sprint("s3cr3t-", i))
				c.Hosts = step.hosts
				m, err := w.Add(t.Context(), c, true)
				if err != nil || strings.Join(m.Hosts, " ") != step.want {
					t.Fatalf("step %d: %+v, %v", i, m, err)
				}
				got, err := w.Credential(t.Context(), "files")
				if err != nil || strings.Join(got.Hosts, " ") != step.want || passwordOf(t, got) != fmt.Sprint("s3cr3t-", i) {
					t.Errorf("step %d: %v, %v", i, got.Hosts, err)
				}
			}
			bad := user("bad", "s3cr3t")
			bad.Hosts = job.Hosts{"a:445"}
			if _, err := w.Add(t.Context(), bad, false); err == nil || !strings.Contains(err.Error(), "a port") {
				t.Error(err)
			}
		})
	}
	// What nobody can use may still say which hosts it was for.
	w := wallet.Dir(put(t, map[string]string{
		"half.json":   `{"hosts":["a"],"username":"u"}`,
		"broken.json": `{"hosts":["a"],"username":"u`,
		"odd.json":    `{"hosts":["a:445"],"username":"u","password":"s3cr3t"}`,
	}))
	if m, err := w.Add(t.Context(), user("half", "s3cr3t"), true); err != nil || strings.Join(m.Hosts, " ") != "a" {
		t.Errorf("%+v, %v", m, err)
	}
	for _, id := range []string{"broken", "odd"} {
		if _, err := w.Add(t.Context(), user(id, "s3cr3t"), true); job.CodeOf(err) != job.BadRequest || !strings.Contains(err.Error(), "the hosts of the credential") {
			t.Errorf("%s: %v", id, err)
		}
		c := user(id, "s3cr3t")
		c.Hosts = wallet.AnyHost
		if m, err := w.Add(t.Context(), c, true); err != nil || len(m.Hosts) != 0 {
			t.Errorf("%s: %+v, %v", id, m, err)
		}
	}
}

func TestRequireHosts(t *testing.T) {
	dir := put(t, map[string]string{
		"any.json": `{"username":"u","password":"s3cr3t"}`, "bound.json": `{"hosts":["a"],"username":"u","password":"s3cr3t"}`,
		"cloud.json": `{"type":"Azure","identity":"managed"}`, "bad.json": `{}`,
	})
	c := wallet.Config{Provider: wallet.ProviderDir, Path: dir, RequireHosts: true}
	w, err := wallet.Open(c.Complete(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"bound", "cloud"} {
		if _, err := w.Credential(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	got, err := w.Credential(t.Context(), "any")
	refused(t, err, `"any" is for any host`, "require_hosts")
	if got.Value != nil {
		t.Error("it was given all the same")
	}
	_, err = w.Describe(t.Context(), "any")
	refused(t, err, `"any" is for any host`)
	list, err := w.List(t.Context())
	var states []string
	for _, m := range list {
		states = append(states, m.ID+" "+string(m.State))
	}
	if want := "any Unusable, bad Unusable, bound Ok, cloud Ok"; err != nil || strings.Join(states, ", ") != want || !strings.Contains(list[0].Problem, "any host") {
		t.Errorf("%+v, %v", list, err)
	}
	e, err := w.Editor()
	if err != nil {
		t.Fatal(err)
	}
	add := func(c wallet.Credential, hosts ...string) error {
		if len(hosts) > 0 {
			c.Hosts = hosts
		}
		_, err := e.Add(t.Context(), c, true)
		return err
	}
	open := user("bound", "s3cr3t")
	open.Hosts = wallet.AnyHost
	for _, c := range []wallet.Credential{user("new", "s3cr3t"), user("any", "s3cr3t"), open} {
		refused(t, add(c), "is for any host")
	}
	if err := add(user("bound", "s3cr3t-2")); err != nil {
		t.Error(err)
	}
	if err := add(user("any", "s3cr3t-2"), "b"); err != nil {
		t.Error(err)
	}
	if c, err := w.Credential(t.Context(), "any"); err != nil || c.Hosts[0] != "b" {
		t.Error(err)
	}
	// A wallet that is found by itself is found as ever.
	outer := put(t, map[string]string{"wallet/any.json": `{"username":"u","password":"s3cr3t"}`})
	if got := (wallet.Config{RequireHosts: true}).Complete(outer); got.Provider != wallet.ProviderDir || !got.RequireHosts {
		t.Errorf("%+v", got)
	}
}
