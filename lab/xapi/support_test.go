package xapi_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imageport/lab/guest"
	"imageport/lab/xapi"
)

const mib = 1 << 20

type object = map[string]any

// site is a pool with a client that is logged in.
type site struct {
	*xapi.Pool
	t       *testing.T
	http    *http.Client
	session string
}

func start(t *testing.T, cfg xapi.Config) *site {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	p, err := xapi.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(p.CertificatePEM())) {
		t.Fatal("no certificate")
	}
	s := &site{Pool: p, t: t, http: &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(s.http.CloseIdleConnections)
	s.login()
	return s
}

func (s *site) login() {
	s.t.Helper()
	var session string
	s.must(&session, "session.login_with_password", s.Username(), s.Password(), "2.21", "test")
	s.session = session
}

// refusal is an error of the API.
type refusal []string

func (r refusal) Error() string { return strings.Join(r, " ") }

// post sends a request's text, and gives the answer's.
func (s *site) post(at, text string) (int, []byte, error) {
	res, err := s.http.Post(at+"/jsonrpc", "application/json", strings.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, b, err
}

// raw calls a method of a host with all its parameters.
func (s *site) raw(at string, out any, method string, params ...any) error {
	req, err := json.Marshal(object{"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
	if err != nil {
		return err
	}
	status, b, err := s.post(at, string(req))
	if err != nil {
		return err
	}
	var res struct {
		Version string `json:"jsonrpc"`
		ID      int
		Result  json.RawMessage
		Error   *struct {
			Code    int
			Message string
			Data    []string
		}
	}
	if err := json.Unmarshal(b, &res); err != nil || status != http.StatusOK {
		return fmt.Errorf("HTTP %d: %q: %w", status, b, err)
	}
	switch {
	case res.Version != "2.0" || res.ID != 7:
		return fmt.Errorf("not the answer: %s", b)
	case res.Error != nil:
		if res.Error.Code == 0 || res.Result != nil {
			return fmt.Errorf("no error of JSON-RPC: %s", b)
		}
		return append(refusal{res.Error.Message}, res.Error.Data...)
	case out == nil:
		return nil
	}
	return json.Unmarshal(res.Result, out)
}

// call calls a method with the session.
func (s *site) call(out any, method string, params ...any) error {
	return s.raw(s.URL(), out, method, append([]any{s.session}, params...)...)
}

func (s *site) must(out any, method string, params ...any) {
	s.t.Helper()
	call := s.call
	if method == "session.login_with_password" {
		call = func(out any, method string, params ...any) error { return s.raw(s.URL(), out, method, params...) }
	}
	if err := call(out, method, params...); err != nil {
		s.t.Fatalf("%s: %v", method, err)
	}
}

// ref calls what gives a reference or another string.
func (s *site) ref(method string, params ...any) string {
	s.t.Helper()
	var ref string
	s.must(&ref, method, params...)
	return ref
}

// refs calls what gives several of them.
func (s *site) refs(method string, params ...any) []string {
	s.t.Helper()
	var refs []string
	s.must(&refs, method, params...)
	return refs
}

// refused wants the error, with those parameters if any are given.
func refused(t *testing.T, err error, want ...string) {
	t.Helper()
	var got refusal
	if !errors.As(err, &got) || len(want) > len(got) || !slices.Equal(got[:len(want)], want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// refuses makes a call that is to fail.
func (s *site) refuses(want []string, method string, params ...any) {
	s.t.Helper()
	err := s.call(nil, method, params...)
	var got refusal
	if !errors.As(err, &got) || len(want) > len(got) || !slices.Equal(got[:len(want)], want) {
		s.t.Errorf("%s: got %v, want %v", method, err, want)
	}
}

func (s *site) sr(name string) string {
	s.t.Helper()
	return s.refs("SR.get_by_name_label", name)[0]
}

func (s *site) vdi(name string, size int64) string {
	s.t.Helper()
	return s.ref("VDI.create", s.vdiRecord(name, size))
}

func (s *site) vdiRecord(name string, size int64) object {
	return object{
		"name_label": name, "SR": s.sr(xapi.DefaultSR), "virtual_size": size, "type": "user", "sharable": false,
		"read_only": false, "other_config": object{"mark": name},
	}
}

func (s *site) vbd(vm, vdi, device string) string {
	s.t.Helper()
	return s.ref("VBD.create", vbdRecord(vm, vdi, device))
}

func vbdRecord(vm, vdi, device string) object {
	return object{
		"VM": vm, "VDI": vdi, "userdevice": device, "bootable": device == "0", "mode": "RW", "type": "Disk", "empty": false,
		"other_config": object{}, "qos_algorithm_type": "", "qos_algorithm_params": object{},
	}
}

func vmRecord(name string) object {
	const memory = 256 * mib
	return object{
		"name_label": name, "user_version": 1, "is_a_template": false, "affinity": "OpaqueRef:NULL",
		"memory_static_max": memory, "memory_dynamic_max": memory, "memory_dynamic_min": memory, "memory_static_min": memory,
		"VCPUs_params": object{}, "VCPUs_max": 2, "VCPUs_at_startup": 2, "actions_after_shutdown": "destroy",
		"actions_after_reboot": "restart", "actions_after_crash": "destroy", "PV_bootloader": "", "PV_kernel": "",
		"PV_ramdisk": "", "PV_args": "", "PV_bootloader_args": "", "PV_legacy_args": "", "HVM_boot_policy": "BIOS order",
		"HVM_boot_params": object{"order": "c", "firmware": "uefi"}, "platform": object{}, "PCI_bus": "",
		"other_config": object{}, "recommendations": "",
	}
}

func (s *site) vm(name string) string {
	s.t.Helper()
	return s.ref("VM.create", vmRecord(name))
}

// machine makes a VM with a disk of 4 MiB.
func (s *site) machine(name string) (vm, vdi string) {
	s.t.Helper()
	vm, vdi = s.vm(name), s.vdi(name+"-disk", 4*mib)
	s.vbd(vm, vdi, "0")
	return vm, vdi
}

// file is where a disk is on this machine.
func (s *site) file(vdi string) string {
	s.t.Helper()
	for _, v := range s.VDIs() {
		if v.Ref == vdi {
			return v.File
		}
	}
	s.t.Fatalf("there is no disk %s", vdi)
	return ""
}

func (s *site) read(vdi string) []byte {
	s.t.Helper()
	b, err := os.ReadFile(s.file(vdi))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *site) write(vdi string, b []byte, at int64) {
	s.t.Helper()
	f, err := os.OpenFile(s.file(vdi), os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := f.WriteAt(b, at); err != nil {
		s.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		s.t.Fatal(err)
	}
}

type task struct {
	Status, Result string
	Progress       float64
	Error          []string `json:"error_info"`
	Finished       string
}

// await waits for a task to end, and destroys it.
func (s *site) await(ref string) task {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		var t task
		s.must(&t, "task.get_record", ref)
		if t.Status != "pending" {
			s.must(nil, "task.destroy", ref)
			return t
		}
		if time.Now().After(end) {
			s.t.Fatal("the task does not end")
		}
	}
}

// put sends an import; a reader that is no bytes.Reader is sent in chunks. The
// status is 0 if the connection ended with what had not been sent yet: then only
// the task tells.
func (s *site) put(at string, body io.Reader, query url.Values) (status int, location string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, at+"/import_raw_vdi?"+query.Encode(), body)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := s.http.Do(req)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	// It ends when the data are stored, or are not.
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.Header.Get("Location")
}

// guests note what they are told, and fail when that is asked for.
type guests struct {
	mu   sync.Mutex
	log  []string
	on   map[string]guest.VM
	fail map[string]error // by "on", "attach", "detach"
}

func newGuests() *guests { return &guests{on: make(map[string]guest.VM), fail: make(map[string]error)} }

func (g *guests) note(what, vm string, do func()) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.fail[what]; err != nil {
		return err
	}
	g.log = append(g.log, what+" "+vm)
	if do != nil {
		do()
	}
	return nil
}

func (g *guests) PowerOn(vm guest.VM) error {
	return g.note("on", vm.Name, func() { g.on[vm.Name] = vm })
}

func (g *guests) PowerOff(vm string) { _ = g.note("off", vm, func() { delete(g.on, vm) }) }

func (g *guests) Attach(vm string, d guest.Disk) error {
	return g.note("attach", vm, func() {
		v := g.on[vm]
		v.Disks = append(slices.Clone(v.Disks), d)
		g.on[vm] = v
	})
}

func (g *guests) Detach(vm string, d guest.Disk) error {
	return g.note("detach", vm, func() {
		v := g.on[vm]
		v.Disks = slices.DeleteFunc(slices.Clone(v.Disks), func(x guest.Disk) bool { return x == d })
		g.on[vm] = v
	})
}

// vm gives what a guest was started from, with its disks of now.
func (g *guests) vm(name string) (guest.VM, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	vm, ok := g.on[name]
	return vm, ok
}

func (g *guests) said() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.log)
}

func (g *guests) failing(what string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail[what] = err
}

func pattern(n int) []byte { return bytes.Repeat([]byte("imageport"), n/9+1)[:n] }
