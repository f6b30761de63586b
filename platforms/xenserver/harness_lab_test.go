package xenserver

import (
	"encoding/base64"
	"slices"
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
		username: lab.Username(), password: lab.Password(), appliance: testAppliance(t), outputs: "output ", planted: make(map[string]bool),
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
	_ platformtest.GuestWriting = (*simHarness)(nil)
	_ platformtest.Writing      = (*simHarness)(nil)
	_ platformtest.Telling      = (*simHarness)(nil)
	_ platformtest.Faulty       = (*simHarness)(nil)
	_ platformtest.Sessions     = (*simHarness)(nil)
	_ platformtest.Slow         = (*simHarness)(nil)
)
