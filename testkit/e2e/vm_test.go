package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"imageport/testkit/cevm"
	"imageport/testkit/ovmf"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

// The main job in a virtual machine, which is the appliance: it starts under
// either firmware, enrols through the gateway, works on the share, and is gone
// at the end. What comes out boots, and nothing secret is to be seen.
func TestVM(t *testing.T) {
	for firmware, placement := range map[string]string{"uefi": "reuse", "bios": "shrink"} {
		t.Run(firmware+" "+placement, func(t *testing.T) {
			r := newRigWith(t, site.Options{Image: winimage.Small(), Appliance: cevm.Appliance(t).Raw, Firmware: firmware})
			r.startWorker()
			before := r.files()
			begin := time.Now()
			id := r.start(r.body(func(b map[string]any) { b["uefiOptions"] = map[string]any{"espPlacement": []string{placement}} }))
			seen := r.watchCE(t)
			res := r.completed(id, 4*time.Minute)
			t.Logf("the job took %v", time.Since(begin).Round(100*time.Millisecond))
			if after := r.files(); len(after) != 2 || after[site.Image] != before[site.Image] || res.SHA256 != r.sha256(res.OutputFile) {
				t.Errorf("the share has %v, at first %v; the result is %s", after, before, res.SHA256)
			}
			if res.CompositingEngines != 1 {
				t.Errorf("it took %d Compositing Engines: %v", res.CompositingEngines, res.Warnings)
			}
			r.noCE()
			if firmware == "uefi" {
				report, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: r.decode7z(res)})
				if err != nil || !report.Passed {
					t.Errorf("firmware does not get to Windows: %v\n%s", err, report)
				}
			}
			log, err := os.ReadFile(filepath.Join(r.Dir, "worker.log"))
			if err != nil {
				t.Fatal(err)
			}
			key, err := os.ReadFile(filepath.Join(r.Dir, "gateway.key"))
			if err != nil {
				t.Fatal(err)
			}
			console := seen()
			if !bytes.Contains(console, []byte("enrolled")) {
				t.Error("no console was seen")
			}
			for where, text := range map[string][]byte{"history": r.history(id), "worker's log": log, "VM's definition, processes and console": console} {
				for what, secret := range map[string][]byte{"password": []byte(r.Samba.Password), "gateway's key": bytes.TrimSpace(key)} {
					if bytes.Contains(text, secret) {
						t.Errorf("the %s is in the %s", what, where)
					}
				}
			}
		})
	}
}
