package xenserver

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/job/seed"
	labxapi "imageport/lab/xapi"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// simHarness is a simulated pool of its own, with which more can be done.
type simHarness struct {
	*harness
	lab *labxapi.Pool
}

func newHarness(t testing.TB) *simHarness { return startHarness(t, labxapi.Config{}) }

func startHarness(t testing.TB, cfg labxapi.Config) *simHarness {
	t.Helper()
	cfg.Dir = t.TempDir()
	lab, err := labxapi.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lab.Close)
	h := &simHarness{lab: lab, harness: &harness{
		username: lab.Username(), password: lab.Password(), appliance: testAppliance(t), outputs: "output ",
	}}
	h.where = job.Target{Platform: job.PlatformXenServer, PlatformCredentialID: "pool"}
	h.where.XenHost, h.where.XenPort, h.where.XenSSLFingerprint = lab.Host(), lab.Port(), lab.Fingerprint()
	h.where.StorageRepositoryUUID, h.where.Network = h.srUUID(t, labxapi.DefaultSR), labxapi.DefaultNetwork
	h.eye = h.open(t, h.config(), h.where)
	h.foreign = h.everything(t)
	return h
}

// srUUID gives the UUID of the simulated pool's SR of that name.
func (h *simHarness) srUUID(t testing.TB, name string) string {
	t.Helper()
	for _, r := range h.lab.Records("SR") {
		if r["name_label"] == name {
			return r["uuid"].(string)
		}
	}
	t.Fatalf("there is no SR %s", name)
	return ""
}

func (h *simHarness) Seed(t testing.TB, name string) seed.Seed {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(h.ceVM(t, name).Xenstore["vm-data/imageport-ce"])
	if err != nil {
		t.Fatal(err)
	}
	s, err := seed.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *simHarness) EndSessions(testing.TB) { h.lab.EndSessions() }

func (h *simHarness) Platform(t testing.TB, credential platformtest.Passwords) platformtest.Platform {
	t.Helper()
	cfg := h.config()
	cfg.Credential = credential
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (h *simHarness) Login() (username, password string) { return h.username, h.password }
func (h *simHarness) Port() int                          { return h.lab.Port() }
func (h *simHarness) CertificatePEM() string             { return h.lab.CertificatePEM() }
func (h *simHarness) Fingerprint() string                { return h.lab.Fingerprint() }
func (h *simHarness) CountSessions() int                 { return len(h.lab.Records("session")) }

func (h *simHarness) Target(by *platformtest.Proof) job.Target {
	where := h.where
	if by == nil {
		return where
	}
	where.XenSSLFingerprint, where.XenSSLCACertificate, where.XenSSLNoCheckHostname = by.Fingerprint, by.CA, by.AnyName
	if by.Host != "" {
		where.XenHost, where.XenPort = by.Host, by.Port
	}
	return where
}

func (h *simHarness) Watch(t testing.TB, see func(method string)) platforms.Driver {
	t.Helper()
	h.lab.SetRole("vm-admin") // whose permissions are read
	return h.before(t, func(method string) error {
		method = strings.TrimPrefix(method, "Async.")
		if tidying := method == "task.destroy" || strings.HasPrefix(method, "session.l"); !tidying {
			see(method)
		}
		return nil
	})
}

func (h *simHarness) Breaks(_ testing.TB, _ platformtest.Verb, method string, n int) []platformtest.Break {
	way := []struct {
		code  string
		kinds []platforms.Kind
	}{
		{"HOST_STILL_BOOTING", []platforms.Kind{platforms.Busy}}, {"RBAC_PERMISSION_DENIED", []platforms.Kind{platforms.Denied}},
		{"SR_FULL", []platforms.Kind{platforms.Full}}, {"INTERNAL_ERROR", []platforms.Kind{platforms.Internal}},
		{"OTHER_OPERATION_IN_PROGRESS", []platforms.Kind{"", platforms.Busy}},
	}[n%5]
	return []platformtest.Break{{Name: way.code, Kinds: way.kinds, Once: func() func() {
		h.lab.Inject(method, 1, way.code, "x", "y")
		return h.lab.ClearFaults
	}}}
}

// Forget removes what CEs are copied from.
func (h *simHarness) Forget(t testing.TB) {
	t.Helper()
	for ref, v := range h.allVDIs(t) {
		if v.isAppliance() {
			h.admin(t, "VDI.destroy", nil, ref)
		}
	}
}

func (h *simHarness) Shared(t testing.TB) []string {
	t.Helper()
	var bases []string
	for _, v := range h.allVDIs(t) {
		if v.isAppliance() {
			bases = append(bases, v.Name)
		}
	}
	return bases
}

func (h *simHarness) Boots(t testing.TB, ce string) {
	t.Helper()
	want := platformtest.ReadFile(t, h.appliance, 0, applianceBytes)
	for _, b := range h.disks(t, ce) {
		if got := platformtest.ReadFile(t, h.file(t, b.VDI), 0, applianceBytes); !bytes.Equal(got, want) {
			t.Errorf("%s does not start from the appliance", ce)
		}
	}
}

// critical are the methods without which the verbs cannot succeed.
var critical = map[platformtest.Verb]string{
	platformtest.Check: "SR.get_record", platformtest.Create: "VM.start", platformtest.Stop: "VM.hard_shutdown",
	platformtest.Destroy: "VM.destroy", platformtest.Find: "VM.get_by_name_label", platformtest.List: "VM.get_all_records",
	platformtest.CheckDisk: "SR.get_record", platformtest.AddDisk: "VDI.create", platformtest.KeepDisk: "VDI.set_name_label",
	platformtest.CheckGuest: "SR.get_record", platformtest.StartGuest: "VM.start", platformtest.FindGuest: "VM.get_by_name_label",
	platformtest.GuestScreen: "VM.get_by_name_label", platformtest.StopGuest: "VM.hard_shutdown", platformtest.RemoveGuest: "VM.destroy",
}

func (h *simHarness) Fail(t testing.TB, call platformtest.Call, kind platforms.Kind) func() {
	t.Helper()
	code := map[platforms.Kind]string{
		platforms.Busy: "OTHER_OPERATION_IN_PROGRESS", platforms.Full: "SR_FULL", platforms.Denied: "RBAC_PERMISSION_DENIED",
	}[kind]
	making := []platformtest.Verb{platformtest.Create, platformtest.AddDisk, platformtest.StartGuest}
	if kind == platforms.Full && !slices.Contains(making, call.Verb) {
		return nil
	}
	h.lab.Inject(critical[call.Verb], labxapi.Always, code, "x", "y")
	return h.lab.ClearFaults
}

func (h *simHarness) Delay(_ testing.TB, d time.Duration) { h.lab.Delay("VDI.create", d) }

var (
	_ platformtest.GuestHarness = (*harness)(nil)
	_ platformtest.Losing       = (*harness)(nil)
	_ platformtest.GuestWriting = (*simHarness)(nil)
	_ platformtest.Writing      = (*simHarness)(nil)
	_ platformtest.Telling      = (*simHarness)(nil)
	_ platformtest.Faulty       = (*simHarness)(nil)
	_ platformtest.Server       = (*simHarness)(nil)
	_ platformtest.Breaking     = (*simHarness)(nil)
	_ platformtest.Booting      = (*simHarness)(nil)
	_ platformtest.Slow         = (*simHarness)(nil)
)
