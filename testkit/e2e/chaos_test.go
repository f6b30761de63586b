package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/proxy"
	"imageport/testkit/site"
)

// Twenty times during one reverseImage, at random moments, the worker, the
// Compositing Engine or the Temporal server is killed. There is one right disk
// in the end, nothing else is left, and little was read twice.
func TestChaos(t *testing.T) {
	t.Parallel()
	const kills, data = 20, 768 << 20
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("IMAGEPORT_CHAOS_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("IMAGEPORT_CHAOS_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))

	ctx := t.Context()
	dir := t.TempDir()
	run := devserver.Options{DBFile: filepath.Join(dir, "temporal.db")}
	temporal, err := devserver.Run(ctx, run)
	if err != nil {
		t.Fatal(err)
	}
	_, portText, _ := strings.Cut(temporal.Address, ":")
	if run.Port, err = strconv.Atoi(portText); err != nil {
		t.Fatal(err)
	}
	client := temporal // that which all clients of the site are of
	t.Cleanup(func() {
		if err := temporal.Stop(); err != nil {
			t.Error(err)
		}
		_ = client.Stop() // closes the connection
	})
	r := newRigWith(t, site.Options{Temporal: temporal})
	raw := r.randomChain("win10.vhdx", "win10.1.avhdx", data, rnd)
	before := r.files()

	door := proxy.New(t, r.Samba.Addr())
	// Two minutes for all: what a kill costs is some second of work, and in a job
	// of some seconds twenty of them would be most of it.
	door.Rate(6 << 20)
	worker := r.startWorker()
	id := r.startOp(job.OpReverseImage, r.reverse(func(b map[string]any) {
		b["inputImageFilename"] = "win10.1.avhdx"
		b["fixups"] = job.FixUpsNone
		b["inputStorageLocation"].(map[string]any)["port"] = door.Port()
	}))
	killed := map[string]int{}
	victims := make([]string, kills) // as many of each kind, in any order
	for n := range victims {
		victims[n] = []string{"worker", "CE", "Temporal"}[n%3]
	}
	rnd.Shuffle(kills, func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for n := range kills {
		// Not before the copy has gone on: what is killed while it comes up loses
		// nothing.
		from, wait := door.Bytes(proxy.Down), (4<<20)+rnd.Int64N(36<<20)
		last := n == kills-1
		r.within(2*time.Minute, fmt.Sprintf("%d bytes more were read after kill %d", wait, n), func() bool {
			return door.Bytes(proxy.Down)-from > wait || door.Bytes(proxy.Down) > data && last
		})
		killed[victims[n]]++
		switch victims[n] {
		case "worker":
			worker.Kill()
			worker = r.startWorker()
		case "CE":
			r.killAgents()
		case "Temporal":
			if err := temporal.Kill(); err != nil {
				t.Fatal(err)
			}
			if temporal, err = devserver.Run(ctx, run); err != nil {
				t.Fatal(err)
			}
		}
	}
	res := r.completed(id, 5*time.Minute)
	again := float64(door.Bytes(proxy.Down)-data) / data
	t.Logf("killed %v; %d Compositing Engines; %.1f %% of the image read again", killed, res.CompositingEngines, again*100)
	if again > 0.25 {
		t.Errorf("%.1f %% of the image was read again, want less than 25 %%", again*100)
	}
	r.sameBytes(raw, r.output("images/reversed.raw"))
	if left := r.outputs(); len(left) != 1 {
		t.Errorf("in the place of output disks are %q", left)
	}
	if after := r.files(); !same(before, after) {
		t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
	}
	r.noCE()
}

// randomChain puts a base of random data on the share and a differencing image of
// it, and gives a raw file with what a guest sees.
func (r rig) randomChain(base, child string, size int64, rnd *rand.Rand) (raw string) {
	r.t.Helper()
	raw = filepath.Join(r.Dir, "expected.raw")
	f, err := os.Create(raw)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	var key [32]byte
	for i := range key {
		key[i] = byte(rnd.Uint32())
	}
	noise := rand.NewChaCha8(key)
	if _, err := io.CopyN(f, noise, size); err != nil {
		r.t.Fatal(err)
	}
	r.run("disk", "convert", "--raw", raw, filepath.Join(r.Store, base))
	// A child that changes some of it: written as a whole, so that the base is
	// needed for the rest.
	for range 16 {
		if _, err := f.Seek(rnd.Int64N(size/(1<<20))<<20, io.SeekStart); err != nil {
			r.t.Fatal(err)
		}
		if _, err := io.CopyN(f, noise, 1<<20); err != nil {
			r.t.Fatal(err)
		}
	}
	r.run("disk", "convert", "--raw", raw, filepath.Join(r.Store, child), "--parent", filepath.Join(r.Store, base))
	return raw
}

// run runs a command line of imageport on the site.
func (r rig) run(args ...string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	if out, err := r.Command(ctx, args...).CombinedOutput(); err != nil {
		r.t.Fatalf("imageport %q: %v\n%s", args, err, out)
	}
}
