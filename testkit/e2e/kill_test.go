package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"imageport/testkit/proxy"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

// TestKillAtEveryStage kills whoever works on the share, worker or Compositing
// Engine, after shares of all that a job sends to it: in preflight, while the
// image is read, while the output is written, verified and published. The job
// completes with the bytes of one that was left alone.
func TestKillAtEveryStage(t *testing.T) {
	for _, perMille := range []int64{2, 8, 20, 300, 700, 960, 990} {
		t.Run(fmt.Sprintf("after %d per mille", perMille), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, winimage.Small())
			worker := r.startWorker()
			before := r.files()
			id := "killed " + r.ResourceLocation
			p := proxy.New(t, r.Samba.Addr())
			r.startAs(id, r.ResourceLocation, r.proxied(p))
			alone := r.completed(id, 2*time.Minute)
			if err := os.Remove(filepath.Join(r.Store, alone.OutputFile)); err != nil {
				t.Fatal(err)
			}

			total := p.Bytes(proxy.Up)
			q := proxy.New(t, r.Samba.Addr())
			q.StallAfter(proxy.Up, total*perMille/1000)
			r.startAs(id, r.ResourceLocation, r.proxied(q))
			r.until("the stage is reached", q.Stalled)
			if len(r.agents()) == 0 {
				worker.Kill()
				r.startWorker()
			} else {
				r.killAgents()
			}
			q.Cut()
			q.Resume()
			again := r.completed(id, 3*time.Minute)
			if again.SHA256 != alone.SHA256 || r.sha256(again.OutputFile) != alone.SHA256 {
				t.Errorf("left alone, it wrote %s, now %s", alone.SHA256, again.SHA256)
			}
			if after := r.files(); len(after) != 2 || after[site.Image] != before[site.Image] {
				t.Errorf("the share has %v, at first %v", after, before)
			}
			r.noCE()
		})
	}
}
