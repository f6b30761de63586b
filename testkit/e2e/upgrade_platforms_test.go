package e2e

import (
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/testkit/site"
	"imageport/testkit/targetdevice"
)

// upgradePvs on the simulated platforms: the guest is a VM of the platform, on the
// same disk as the CE, and nothing of either is left.
func TestUpgradeOnPlatforms(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]site.Options{
		job.PlatformVSphere:   {VSphere: true},
		job.PlatformXenServer: {XenServer: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := upgradeRig(t, o)
			r.offers("2311", targetdevice.Build(t, newVersion, targetdevice.Works))
			r.startWorker()
			before := r.files()
			res := r.completed(r.startOp(job.OpUpgradePVS, r.upgrade(nil)), 4*time.Minute)
			if res.Upgrade == nil || res.Upgrade.To != newVersion || res.Upgrade.Guests != 1 || res.CompositingEngines != 1 {
				t.Errorf("the result is %+v, %+v", res, res.Upgrade)
			}
			if facts, left := r.look(res.OutputFile); facts.Version != newVersion || len(left) > 0 {
				t.Errorf("the output has %+v, and of us %v", facts, left)
			}
			after := r.files()
			delete(after, res.OutputFile)
			if !same(before, after) {
				t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
			}
			r.noCE()
			for _, file := range r.outputs() { // of VMs and disks
				if strings.Contains(file, "/ce-") {
					t.Errorf("%s is left", file)
				}
			}
		})
	}
}
