package xapi_test

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"imageport/lab/xapi"
)

func TestLogin(t *testing.T) {
	s := start(t, xapi.Config{})
	for name, c := range map[string]struct{ user, password string }{
		"another password": {s.Username(), "guess"},
		"another user":     {"admin", s.Password()},
		"no password":      {s.Username(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.raw(s.URL(), nil, "session.login_with_password", c.user, c.password, "2.21", "test")
			refused(t, err, "SESSION_AUTHENTICATION_FAILED", c.user)
		})
	}
	for _, params := range [][]any{{s.Username(), s.Password()}, {s.Username(), s.Password(), "1.0"}} {
		if err := s.raw(s.URL(), nil, "session.login_with_password", params...); err != nil {
			t.Errorf("with %d parameters: %v", len(params), err)
		}
	}
	refused(t, s.raw(s.URL(), nil, "session.login_with_password", "root"), "MESSAGE_PARAMETER_COUNT_MISMATCH")
	if other := start(t, xapi.Config{}); other.Password() == s.Password() {
		t.Error("two have the same generated password")
	}
}

func TestSessionsEnd(t *testing.T) {
	s := start(t, xapi.Config{})
	refused(t, s.raw(s.URL(), nil, "VM.get_all", "OpaqueRef:none"), "SESSION_INVALID", "OpaqueRef:none")
	s.EndSessions()
	s.refuses([]string{"SESSION_INVALID", s.session}, "VM.get_all")
	s.login()
	s.must(nil, "VM.get_all")
	s.must(nil, "session.logout")
	s.refuses([]string{"SESSION_INVALID"}, "VM.get_all")
}

func TestCertificate(t *testing.T) {
	s := start(t, xapi.Config{SupporterListen: "127.0.0.2:0"})
	if len(s.Fingerprint()) != 95 {
		t.Errorf("fingerprint %s", s.Fingerprint())
	}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL(), "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if proto := conn.ConnectionState().NegotiatedProtocol; proto == "h2" {
		t.Error("it speaks HTTP/2, which XAPI does not")
	}
	if _, err := http.Get(s.URL()); err == nil {
		t.Error("it is trusted for nothing")
	}
	if err := s.raw(supporter(s), nil, "x"); err == nil || strings.Contains(err.Error(), "x509") {
		t.Errorf("the supporter's: %v", err)
	}
}

func supporter(s *site) string {
	return "https://" + net.JoinHostPort(s.SupporterHost(), strconv.Itoa(s.SupporterPort()))
}

func TestSupporterSendsToCoordinator(t *testing.T) {
	s := start(t, xapi.Config{SupporterListen: "127.0.0.2:0"})
	if s.SupporterPort() != s.Port() || s.SupporterHost() == s.Host() {
		t.Errorf("%s:%d beside %s", s.SupporterHost(), s.SupporterPort(), s.URL())
	}
	err := s.raw(supporter(s), nil, "session.login_with_password", s.Username(), s.Password(), "2.21", "test")
	refused(t, err, "HOST_IS_SLAVE", s.Host())
	refused(t, s.raw(supporter(s), nil, "VM.get_all", s.session), "HOST_IS_SLAVE", s.Host())
	if n := len(s.refs("host.get_all")); n != 2 {
		t.Errorf("%d hosts", n)
	}
}

// It is known by all addresses when it listens on all.
func TestListenEverywhere(t *testing.T) {
	s := start(t, xapi.Config{Listen: "0.0.0.0:0", SRs: []xapi.SR{{Name: xapi.DefaultSR, SizeBytes: 1 << 30}}})
	if s.SupporterHost() != "" || s.SupporterPort() != 0 {
		t.Error("there is a second host")
	}
	p, err := xapi.Start(xapi.Config{Listen: "localhost:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := s.http.Get(p.URL()); err == nil || !strings.Contains(err.Error(), "x509") {
		t.Errorf("another's certificate: %v", err)
	}
}

func TestListenAddressThatIsTaken(t *testing.T) {
	s := start(t, xapi.Config{})
	for _, cfg := range []xapi.Config{
		{Listen: strings.TrimPrefix(s.URL(), "https://")}, {Listen: "localhost"},
		{SupporterListen: strings.TrimPrefix(s.URL(), "https://")}, {SupporterListen: "nonsense"},
	} {
		p, err := xapi.Start(cfg)
		if err == nil {
			p.Close()
			t.Errorf("%+v starts", cfg)
		}
	}
}

func TestSchemaIsKept(t *testing.T) {
	s := start(t, xapi.Config{})
	vm := s.vm("x")
	s.refuses([]string{"MESSAGE_METHOD_UNKNOWN", "VM.frobnicate"}, "VM.frobnicate")
	s.refuses([]string{"MESSAGE_METHOD_UNKNOWN", "Async.VM.get_record"}, "Async.VM.get_record", vm)
	s.refuses([]string{"MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.start", "4", "2"}, "VM.start", vm)
	s.refuses([]string{"FIELD_TYPE_ERROR"}, "VM.start", vm, 0, false)
	s.refuses([]string{"FIELD_TYPE_ERROR"}, "VM.set_name_label", vm, 7)
	s.refuses([]string{"FIELD_TYPE_ERROR"}, "VM.set_tags", vm, []any{1})
	s.refuses([]string{"FIELD_TYPE_ERROR"}, "VM.set_platform", vm, object{"a": true})
	s.refuses([]string{"FIELD_TYPE_ERROR"}, "VDI.resize", vm, 1.5)
	s.refuses([]string{"FIELD_TYPE_ERROR"}, "VM.set_actions_after_shutdown", vm, "explode")
	s.refuses([]string{"HANDLE_INVALID", "VM", "OpaqueRef:none"}, "VM.start", "OpaqueRef:none", false, false)
	s.refuses([]string{"HANDLE_INVALID", "VM", "OpaqueRef:NULL"}, "VM.start", "OpaqueRef:NULL", false, false)
	s.refuses([]string{"UUID_INVALID", "VM", "none"}, "VM.get_by_uuid", "none")
	for name, change := range map[string]func(object){
		"missing": func(r object) { delete(r, "virtual_size") },
		"type":    func(r object) { r["virtual_size"] = true },
		"enum":    func(r object) { r["type"] = "floppy" },
		"unknown": func(r object) { r["virtual_sise"] = 1 },
	} {
		t.Run(name, func(*testing.T) {
			rec := s.vdiRecord("x", mib)
			change(rec)
			s.refuses([]string{"FIELD_TYPE_ERROR"}, "VDI.create", rec)
		})
	}
	rec := s.vdiRecord("x", mib)
	rec["SR"] = "OpaqueRef:gone"
	s.refuses([]string{"HANDLE_INVALID", "SR", "OpaqueRef:gone"}, "VDI.create", rec)
	rec["SR"], rec["virtual_size"] = s.sr(xapi.DefaultSR), "2097152" // as XML-RPC has it
	s.must(nil, "VDI.create", rec)
	if methods := s.refs("system.listMethods"); !slices.Contains(methods, "Async.VM.clone") || slices.Contains(methods, "Async.VM.get_record") {
		t.Error(methods)
	}
}

func TestWire(t *testing.T) {
	s := start(t, xapi.Config{})
	for _, text := range []string{
		"", "{", "[]", "null", `{"method":"VM.get_all","params":[]}`, `{"jsonrpc":"2.0","method":"VM.get_all","params":[],"id":null}`,
		`{"jsonrpc":"3.0","method":"VM.get_all","params":[],"id":1}`, `{"jsonrpc":"2.0","params":[],"id":1}`,
		`{"jsonrpc":"2.0","method":"VM.get_all","params":{},"id":1}`, `{"jsonrpc":"2.0","method":"x","params":[],"id":1.5}`,
		`{"jsonrpc":"2.0","method":"x","params":[],"id":1} {}`, strings.Repeat(" ", 2<<20),
	} {
		status, b, err := s.post(s.URL(), text)
		if err != nil || status != http.StatusInternalServerError || !strings.Contains(string(b), "<h1>HTTP 500") {
			t.Errorf("%.60q: HTTP %d %.60q, %v", text, status, b, err)
		}
	}
	var old struct {
		Result any
		Error  []string
		ID     string
	}
	for method, code := range map[string]string{"VM.get_all": "", "VM.nothing": "MESSAGE_METHOD_UNKNOWN"} {
		_, b, err := s.post(s.URL(), `{"method":"`+method+`","params":["`+s.session+`"],"id":"x"}`)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &old); err != nil || old.ID != "x" || (code == "") != (old.Error == nil) || code != "" && old.Error[0] != code {
			t.Errorf("JSON-RPC 1.0: %s, %v", b, err)
		}
	}
	if res, err := s.http.Get(s.URL() + "/jsonrpc"); err != nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("GET: %v, %v", res, err)
	}
}

func TestPermissions(t *testing.T) {
	s := start(t, xapi.Config{})
	vm := s.vm("x")
	may := func(method string) bool {
		return slices.Contains(s.refs("session.get_rbac_permissions", s.session), method)
	}
	superuser := func() (is bool) {
		s.must(&is, "session.get_is_local_superuser", s.session)
		return is
	}
	if !superuser() || may("vm.start") {
		t.Error("root has a list of permissions")
	}
	s.Revoke("VM.start")
	if superuser() || !may("http/put_import_raw_vdi") {
		t.Error("one without VM.start may do all")
	}
	s.refuses([]string{"RBAC_PERMISSION_DENIED", "vm.start"}, "VM.start", vm, false, false)
	s.refuses([]string{"RBAC_PERMISSION_DENIED", "vm.start"}, "Async.VM.start", vm, false, false)
	if may("vm.start") || !may("vm.destroy") {
		t.Error("permissions with VM.start revoked")
	}
	s.Grant("VM.start")
	s.SetRole("vm-operator")
	s.must(nil, "VM.start", vm, false, false)
	s.refuses([]string{"RBAC_PERMISSION_DENIED", "vdi.create"}, "VDI.create", s.vdiRecord("x", mib))
	if may("vdi.create") || !may("vm.start") {
		t.Error("permissions of a vm-operator")
	}
	s.SetRole("vm-admin")
	s.must(nil, "VDI.create", s.vdiRecord("x", mib))
}

func TestInjectedErrors(t *testing.T) {
	s := start(t, xapi.Config{})
	vm, _ := s.machine("x")
	s.Inject("VM.start", 2, "HOST_NOT_ENOUGH_FREE_MEMORY", "1", "2")
	s.refuses([]string{"HOST_NOT_ENOUGH_FREE_MEMORY", "1", "2"}, "VM.start", vm, false, false)
	if got := s.await(s.ref("Async.VM.start", vm, false, false)); got.Status != "failure" || !slices.Equal(got.Error, []string{"HOST_NOT_ENOUGH_FREE_MEMORY", "1", "2"}) {
		t.Errorf("in a task: %+v", got)
	}
	s.must(nil, "VM.start", vm, false, false)
	s.Inject("*", xapi.Always, "HOST_STILL_BOOTING")
	for range 3 {
		s.refuses([]string{"HOST_STILL_BOOTING"}, "VM.get_all")
	}
	s.login()
	s.ClearFaults()
	s.must(nil, "VM.get_all")
}

func TestHook(t *testing.T) {
	s := start(t, xapi.Config{})
	var seen []string
	s.Hook(func(c xapi.Call) bool {
		if c.Changes {
			seen = append(seen, c.Method)
		}
		return c.Method != "VM.destroy"
	})
	vm := s.vm("x")
	s.must(nil, "VM.get_record", vm)
	if err := s.call(nil, "VM.destroy", vm); err == nil {
		t.Error("it was answered")
	} else if _, is := err.(refusal); is {
		t.Errorf("an answer: %v", err)
	}
	s.Hook(nil)
	s.must(nil, "VM.get_record", vm)
	if want := []string{"VM.create", "VM.destroy"}; !slices.Equal(seen[:2], want) {
		t.Errorf("seen %v", seen)
	}
}

func TestDelayOfCallThatEndsWithThePool(t *testing.T) {
	s := start(t, xapi.Config{})
	vm, _ := s.machine("x")
	s.Delay("VM.start", time.Hour)
	s.must(nil, "Async.VM.start", vm, false, false)
	done := make(chan struct{})
	go func() {
		s.Close()
		s.Close()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("it does not close")
	}
}

func TestInventory(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	s := start(t, xapi.Config{Networks: []string{"a", "b"}, Now: func() time.Time { return now }})
	host := s.refs("host.get_all")[0]
	if got := s.ref("host.get_servertime", host); got != "20260304T05:06:07Z" {
		t.Errorf("time %q", got)
	}
	var pools map[string]struct {
		Master    string
		DefaultSR string `json:"default_SR"`
	}
	s.must(&pools, "pool.get_all_records")
	for _, p := range pools {
		if p.Master != host || p.DefaultSR != s.sr(xapi.DefaultSR) {
			t.Errorf("%+v", p)
		}
	}
	if n := len(s.refs("network.get_by_name_label", "b")); n != 1 {
		t.Errorf("%d networks", n)
	}
	var sr struct {
		Size   int64 `json:"physical_size"`
		Used   int64 `json:"physical_utilisation"`
		PBDs   []string
		Shared bool
	}
	s.vdi("x", 8*mib)
	s.must(&sr, "SR.get_record", s.sr(xapi.DefaultSR))
	if sr.Size != xapi.DefaultSRs[0].SizeBytes || sr.Used != 8*mib || len(sr.PBDs) != 1 || sr.Shared {
		t.Errorf("%+v", sr)
	}
	domains, templates := 0, 0
	for _, vm := range s.VMs() {
		if vm.ControlDomain {
			domains++
		}
		if vm.Default && vm.Template {
			templates++
		}
	}
	if domains != 1 || templates != 2 {
		t.Errorf("%d control domains, %d templates", domains, templates)
	}
}
