package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/engine/pvs"
	"imageport/job"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

// TestDryRun asks first, and then does it: the plan of the dry run is what the
// job does, the dry run leaves no trace, and needs no Compositing Engine.
func TestDryRun(t *testing.T) {
	r := newRig(t, winimage.Small())
	r.startWorker()
	before := r.files()
	id := r.start(r.body(func(m map[string]any) { m["dryRun"] = true }))
	dry := r.completed(id, time.Minute)
	var plan struct {
		After []job.Partition `json:"after"`
		ESP   struct{ Placement job.ESPPlacement }
	}
	if err := json.Unmarshal(dry.Plan, &plan); err != nil {
		t.Fatal(err)
	}
	if !dry.DryRun || dry.SHA256 != "" || len(plan.After) != 3 || plan.ESP.Placement != job.PlaceReuse {
		t.Errorf("result %+v\nplan %s", dry, dry.Plan)
	}
	if after := r.files(); !same(before, after) {
		t.Errorf("the share had %v, has %v", before, after)
	}
	history := r.history(id)
	for _, never := range []string{`"CreateCE"`, `"Finish"`} {
		if bytes.Contains(history, []byte(never)) {
			t.Errorf("the dry run did %s", never)
		}
	}
	did := r.completed(r.start(r.body(nil)), time.Minute)
	if did.DiskGUID != dry.DiskGUID || len(did.Partitions) != len(dry.Partitions) || did.Partitions[1] != dry.Partitions[1] {
		t.Errorf("planned was %+v, done %+v", dry, did)
	}
}

// TestNextVersion makes the output the vDisk's next version, and has firmware
// start it before it gets its name.
func TestNextVersion(t *testing.T) {
	r := newRig(t, winimage.Small())
	r.startWorker()
	if err := os.WriteFile(filepath.Join(r.Store, "win10.pvp"), []byte("properties"), 0o666); err != nil {
		t.Fatal(err)
	}
	before := r.files()
	res := r.completed(r.start(r.body(func(m map[string]any) {
		delete(m, "outputImageFilename")
		m["pvsVersion"], m["verify"] = "next", "boot"
	})), 10*time.Minute)
	after := r.files()
	for _, name := range []string{site.Image, "win10.pvp"} {
		if after[name] != before[name] {
			t.Errorf("%s changed", name)
		}
	}
	if len(after) != 5 || res.OutputFile != "win10.1.avhdx" || res.SHA256 != r.sha256("win10.1.avhdx") {
		t.Errorf("result %+v, files %v", res, after)
	}
	b, err := os.ReadFile(filepath.Join(r.Store, "win10.xml"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := pvs.ParseManifest(b)
	if err != nil || m.Latest().File != "win10.1.avhdx" || m.Latest().Size != res.SizeBytes {
		t.Errorf("manifest %s: %v", b, err)
	}
	if res.Boot == nil || len(res.Boot.Screenshot) == 0 || !strings.Contains(res.Boot.Console, "winload") {
		t.Errorf("boot proof %+v", res.Boot)
	}
	if res.PVS == nil || res.PVS.Version != 1 || len(res.PVS.PowerShell) == 0 {
		t.Errorf("PVS steps %+v", res.PVS)
	}
	if v := res.Verification; v == nil || len(v.Checks) < 10 || len(v.ESPFiles) < 10 {
		t.Errorf("verification %+v", v)
	}
	r.noCE()
}
