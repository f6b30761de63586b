package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"

	"imageport/engine/catalogue"
	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/guestsim"
	"imageport/testkit/proxy"
	"imageport/testkit/site"
	"imageport/testkit/targetdevice"
)

// machine is the machine of a site's guests: the simulator, with what the test
// says of each time that it is switched on.
type machine struct {
	t    *testing.T
	path string
}

// machineProgram counts how often it is started. What the test has said lies beside
// it.
const machineProgram = `#!/bin/sh
echo >>"$0.starts"
while [ -e "$0.hold" ]; do /bin/sleep 0.1; done
arguments=
if [ -e "$0.always" ]; then read -r arguments <"$0.always"; fi
if [ -e "$0.once" ]; then read -r arguments <"$0.once"; /bin/rm "$0.once"; fi
exec %q $arguments "$1"
`

// machineRig is upgradeRig with a machine that does what it is told, and with
// version 2311 in the catalogue. The image has small blocks, so that little is copied.
func machineRig(t *testing.T, o site.Options) (rig, machine) {
	t.Helper()
	m := machine{t, filepath.Join(t.TempDir(), "machine")}
	m.write(m.path, fmt.Sprintf(machineProgram, simulator))
	o.Guest = m.path
	r := newRigWith(t, o)
	base := filepath.Join(r.Store, site.Image)
	r.imageport("disk", "convert", "--block-size", "2M", "--raw", guestsim.TargetImage(t, oldVersion).Path, base)
	r.imageport("disk", "create", filepath.Join(r.Store, versioned), "--parent", base)
	r.offers("2311", targetdevice.Build(t, newVersion, targetdevice.Works))
	return r, m
}

func (m machine) write(path, text string) {
	m.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		m.t.Fatal(err)
	}
}

// once gives the arguments of the next start, and always those of all others.
func (m machine) once(arguments string)   { m.t.Helper(); m.write(m.path+".once", arguments+"\n") }
func (m machine) always(arguments string) { m.t.Helper(); m.write(m.path+".always", arguments+"\n") }

// hold keeps the next starts from anything but being on, until release.
func (m machine) hold()    { m.t.Helper(); m.write(m.path+".hold", "") }
func (m machine) release() { m.t.Helper(); m.remove(m.path + ".hold") }

func (m machine) remove(path string) {
	m.t.Helper()
	if err := os.RemoveAll(path); err != nil {
		m.t.Fatal(err)
	}
}

// starts is how often it was started since the last reset, which makes it an
// ordinary one.
func (m machine) starts() int {
	m.t.Helper()
	b, err := os.ReadFile(m.path + ".starts")
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

func (m machine) reset() {
	m.t.Helper()
	for _, what := range []string{".starts", ".hold", ".always", ".once"} {
		m.remove(m.path + what)
	}
}

// relist changes the entry of a version in the catalogue, behind our program's back.
func (r rig) relist(version string, change func(entry map[string]any)) {
	r.t.Helper()
	path := filepath.Join(r.Catalogue(), catalogue.FileName)
	b, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	var all struct {
		Installers []map[string]any `json:"installers"`
	}
	if err := json.Unmarshal(b, &all); err != nil {
		r.t.Fatal(err)
	}
	found := false
	for _, entry := range all.Installers {
		if entry["version"] == version {
			found = true
			change(entry)
		}
	}
	if !found {
		r.t.Fatalf("%s has no version %s", path, version)
	}
	if b, err = json.Marshal(all); err == nil {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// upgradeTo starts an upgrade to a version of the catalogue. The guest has so many
// minutes, or with 0 the default.
func (r rig) upgradeTo(version string, minutes float64, change func(map[string]any)) string {
	r.t.Helper()
	return r.startOp(job.OpUpgradePVS, r.upgrade(func(b map[string]any) {
		options := b["upgradeOptions"].(map[string]any)
		options["installPvs"] = version
		if minutes > 0 {
			options["timeoutMinutes"] = minutes
		}
		if change != nil {
			change(b)
		}
	}))
}

// upgraded checks that a job has made what was asked for, and takes that away.
func (r rig) upgraded(id string) job.Result {
	r.t.Helper()
	res := r.completed(id, 4*time.Minute)
	facts, left := r.look(res.OutputFile)
	if facts.Version != newVersion || facts.Broken != "" || len(left) > 0 {
		r.t.Errorf("the output has %+v, and of us %v", facts, left)
	}
	if err := os.Remove(filepath.Join(r.Store, res.OutputFile)); err != nil {
		r.t.Error(err)
	}
	return res
}

// nothingLeft checks that a job that has ended has left nothing of it anywhere.
func (r rig) nothingLeft(before map[string]string) {
	r.t.Helper()
	if after := r.files(); !same(before, after) {
		r.t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
	}
	r.noCE()
	if left := r.outputs(); len(left) > 0 {
		r.t.Errorf("disks are left: %v", left)
	}
	if on := r.machines(); len(on) > 0 {
		r.t.Errorf("guests are on: %v", on)
	}
}

// machines lists the processes that have one of the site's disks as an argument.
func (r rig) machines() []string {
	r.t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		r.t.Fatal(err)
	}
	var on []string
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(line), r.Outputs()+"/") {
			on = append(on, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return on
}

// attempt is the number of the attempt at an activity of a job that is under way,
// or 0.
func (r rig) attempt(id, activity string) int32 {
	r.t.Helper()
	d, err := r.Temporal.Client().DescribeWorkflowExecution(r.t.Context(), id, "")
	if err != nil {
		r.t.Fatal(err)
	}
	if state := d.GetWorkflowExecutionInfo().GetStatus(); state != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		s, err := r.Jobs.Get(r.t.Context(), id)
		r.t.Fatalf("the job has ended, and %s was not seen: %+v, %v", activity, s.Error, err)
	}
	for _, a := range d.GetPendingActivities() {
		if a.GetActivityType().GetName() == activity && a.GetState() == enums.PENDING_ACTIVITY_STATE_STARTED {
			return a.GetAttempt()
		}
	}
	return 0
}

// ended reports whether an activity of a job has ended, as quick ones have before
// anybody sees them.
func (r rig) ended(id, activity string) bool {
	r.t.Helper()
	theirs := make(map[int64]bool)
	events := r.Temporal.Client().GetWorkflowHistory(r.t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		if a := e.GetActivityTaskScheduledEventAttributes(); a.GetActivityType().GetName() == activity {
			theirs[e.GetEventId()] = true
		}
		if theirs[e.GetActivityTaskCompletedEventAttributes().GetScheduledEventId()] {
			return true
		}
	}
	return false
}

// during waits until an activity of a job is under way, or just over.
func (r rig) during(id, activity string) {
	r.t.Helper()
	r.within(3*time.Minute, activity+" is under way", func() bool { return r.attempt(id, activity) > 0 || r.ended(id, activity) })
}

// fault is what goes wrong in an upgrade, and what becomes of it.
type fault struct {
	name    string
	long    bool // for -full
	version string
	minutes float64
	// once and always are the arguments of the machine.
	once, always string
	// code is that of the failure, "" for a job that completes.
	code job.Code
	// starts is how often the machine was switched on.
	starts int
	// attempts is how often the installer was started by a job that completes.
	attempts int
	// says is in the error, or in a warning of the job that completes.
	says string
}

// faulty runs jobs one after the other, of which each must leave nothing.
func (r rig) faulty(m machine, faults []fault) {
	r.startWorker()
	before := r.files()
	for _, f := range faults {
		if f.long && !*full {
			continue
		}
		r.t.Run(f.name, func(t *testing.T) {
			r := rig{r.Site, t}
			m := machine{t, m.path}
			m.reset()
			if f.once != "" {
				m.once(f.once)
			}
			if f.always != "" {
				m.always(f.always)
			}
			id := r.upgradeTo(f.version, f.minutes, nil)
			if f.code == "" {
				res := r.upgraded(id)
				steps := res.Upgrade.Steps
				if said := strings.Join(res.Warnings, "\n"); !strings.Contains(said, f.says) || res.Upgrade.Guests != f.starts || len(steps) != 1 || steps[0].Attempts != f.attempts {
					t.Errorf("the result is %+v, %+v", res, res.Upgrade)
				}
			} else if s := r.wait(id, 4*time.Minute); s.State != job.StateFailed || s.Error == nil || s.Error.Code != f.code || !strings.Contains(s.Error.Message, f.says) {
				t.Errorf("ended as %s with %+v, want %s: …%s…", s.State, s.Error, f.code, f.says)
			}
			if m.starts() != f.starts {
				t.Errorf("the machine was switched on %d times, want %d", m.starts(), f.starts)
			}
			r.nothingLeft(before)
		})
	}
}

// Installers that are not what the catalogue says, end in the middle, or restart
// Windows by themselves.
func TestUpgradeInstallers(t *testing.T) {
	t.Parallel()
	r, m := machineRig(t, site.Options{})
	r.offers("spoilt", targetdevice.Build(t, newVersion, targetdevice.Works))
	r.relist("spoilt", func(entry map[string]any) { entry["sha256"] = strings.Repeat("5", 64) })
	r.offers("crashes", targetdevice.Build(t, newVersion, targetdevice.Crashes))
	r.offers("restarts", targetdevice.Build(t, newVersion, targetdevice.Reboots))
	r.offers("again", targetdevice.Build(t, newVersion, targetdevice.Reboots))
	// Windows never lists the version that the catalogue promises.
	r.relist("again", func(entry map[string]any) { entry["productVersion"] = "7.50" })
	r.offers("many", targetdevice.Build(t, newVersion, targetdevice.Lies))
	r.relist("many", func(entry map[string]any) {
		var all []map[string]any
		for n := range 10 { // each of which wants Windows to be restarted
			all = append(all, map[string]any{"name": strconv.Itoa(n), "file": entry["file"], "sha256": entry["sha256"], "args": "/S", "rebootCodes": []int{3010}})
		}
		entry["prerequisites"] = all
	})
	r.faulty(m, []fault{
		{name: "wrong hash", version: "spoilt", code: job.InstallerHashMismatch},
		{name: "crashes", long: true, version: "crashes", code: job.InstallerFailed, starts: 1},
		{name: "restarts Windows", version: "restarts", starts: 1, attempts: 1},
		{name: "restarts Windows again and again", long: true, version: "again", code: job.UpgradeNotVerified, starts: 1, says: "not 7.50"},
		{name: "too many restarts", long: true, version: "many", code: job.TooManyBoots, starts: 1, says: "8 times"},
	})
}

// Machines that lose power, and Windows that do not come up.
func TestUpgradeMachines(t *testing.T) {
	t.Parallel()
	r, m := machineRig(t, site.Options{})
	r.faulty(m, []fault{
		// The second write of the runner's state says that the installer is about to
		// be started.
		{name: "power returns", version: "2311", once: "-power-loss-write 2 -power-returns", starts: 1, attempts: 2},
		{name: "power is lost", version: "2311", once: "-power-loss-write 2", starts: 2, attempts: 2, says: "started again"},
		{name: "power is lost at every start", long: true, version: "2311", always: "-power-loss-write 1", code: job.TooManyBoots, starts: 4, says: "started 4 times"},
		{name: "services are blocked", version: "2311", always: "-defect blocked -patience 2s", code: job.GuestNotStarted, starts: 2},
		{name: "blue screen", version: "2311", minutes: 0.05, always: "-defect bluescreen", code: job.GuestNotStarted, starts: 1, says: "never started our service"},
	})
}

// slowDoor is a way to the share that makes a copy take some seconds.
func (r rig) slowDoor() (*proxy.Proxy, func(map[string]any)) {
	r.t.Helper()
	door := proxy.New(r.t, r.Samba.Addr())
	door.Rate(48 << 20)
	return door, func(b map[string]any) { b["inputStorageLocation"].(map[string]any)["port"] = door.Port() }
}

// Whatever it does when its CE is killed, the job completes: before the guest it
// copies anew what was written to, and after it nothing is done twice that was
// done.
func TestUpgradeOutlivesCEs(t *testing.T) {
	t.Parallel()
	for _, moments := range [][]string{{"Copy", "Inject", "Judge", "Export"}, {"FixUp", "Clean", "PublishExport"}} {
		t.Run(strings.Join(moments, ", "), func(t *testing.T) {
			t.Parallel()
			r, m := machineRig(t, site.Options{})
			r.startWorker()
			before := r.files()
			door, slow := r.slowDoor()
			id := r.upgradeTo("2311", 0, slow)
			for _, activity := range moments {
				if activity == "PublishExport" {
					door.Delay(50 * time.Millisecond) // it is over in no time
				}
				r.during(id, activity)
				switch activity {
				case "Copy":
					r.untilMore(door, proxy.Down)
				case "Export":
					r.untilMore(door, proxy.Up)
				}
				r.killAgents()
			}
			res := r.upgraded(id)
			if want := 1 + len(moments); res.CompositingEngines != want || res.Upgrade.Guests != 1 || m.starts() != 1 {
				t.Errorf("it took %d CEs, want %d, and %d guests (%d starts): %v", res.CompositingEngines, want, res.Upgrade.Guests, m.starts(), res.Warnings)
			}
			r.nothingLeft(before)
		})
	}
}

// untilMore waits until some of an image has gone through the door.
func (r rig) untilMore(door *proxy.Proxy, way proxy.Direction) {
	r.t.Helper()
	from := door.Bytes(way)
	r.until("some of an image has passed", func() bool { return door.Bytes(way) > from+(1<<20) })
}

// mortalTemporal is a Temporal server of a test's own, which keeps what it knows
// when it is killed.
type mortalTemporal struct {
	t       *testing.T
	options devserver.Options
	server  *devserver.Server
}

func newMortalTemporal(t *testing.T) *mortalTemporal {
	t.Helper()
	m := &mortalTemporal{t: t, options: devserver.Options{DBFile: filepath.Join(t.TempDir(), "temporal.db")}}
	m.run()
	_, port, err := net.SplitHostPort(m.server.Address)
	if err == nil {
		m.options.Port, err = strconv.Atoi(port)
	}
	if err != nil {
		t.Fatal(err)
	}
	first := m.server // whose client everybody has
	t.Cleanup(func() {
		if err := m.server.Stop(); err != nil {
			t.Error(err)
		}
		_ = first.Stop() // closes the connection
	})
	return m
}

func (m *mortalTemporal) run() {
	m.t.Helper()
	var err error
	if m.server, err = devserver.Run(context.WithoutCancel(m.t.Context()), m.options); err != nil {
		m.t.Fatal(err)
	}
}

// restart kills it and starts it again.
func (m *mortalTemporal) restart() {
	m.t.Helper()
	if err := m.server.Kill(); err != nil {
		m.t.Fatal(err)
	}
	m.run()
}

// While the guest is on, its worker is killed, and then the Temporal server. The
// guest goes on, and another worker waits for it to its end.
func TestUpgradeOutlivesServers(t *testing.T) {
	t.Parallel()
	temporal := newMortalTemporal(t)
	r, m := machineRig(t, site.Options{Temporal: temporal.server})
	worker := r.startWorker()
	before := r.files()
	m.hold()
	id := r.upgradeTo("2311", 0, nil)
	r.during(id, "WaitGuest")
	worker.Kill()
	r.startWorker()
	r.within(time.Minute, "the other worker waits for the guest", func() bool { return r.attempt(id, "WaitGuest") > 1 })
	temporal.restart()
	m.release()
	if res := r.upgraded(id); res.Upgrade.Guests != 1 || m.starts() != 1 || res.CompositingEngines != 1 {
		t.Errorf("the guest was on %d times (%d starts), with %d CEs: %v", res.Upgrade.Guests, m.starts(), res.CompositingEngines, res.Warnings)
	}
	r.nothingLeft(before)
}

// Cancelled whatever it does, a job ends as canceled, and leaves nothing.
func TestUpgradeCancelledAnywhere(t *testing.T) {
	t.Parallel()
	r, m := machineRig(t, site.Options{})
	r.startWorker()
	before := r.files()
	moments := []string{"Inject", "Judge"}
	if *full {
		moments = []string{"Copy", "Inject", "WaitGuest", "Judge", "Export"}
	}
	for _, activity := range moments {
		t.Run(activity, func(t *testing.T) {
			r := rig{r.Site, t}
			m := machine{t, m.path}
			m.reset()
			if activity == "WaitGuest" {
				m.hold()
			}
			door, slow := r.slowDoor()
			id := r.upgradeTo("2311", 0, slow)
			r.during(id, activity)
			if activity == "Export" {
				r.untilMore(door, proxy.Up)
			}
			if err := r.Jobs.Cancel(t.Context(), id, "a test"); err != nil {
				t.Fatal(err)
			}
			if s := r.wait(id, time.Minute); s.State != job.StateCanceled {
				t.Errorf("ended as %s in %s: %+v", s.State, s.Phase, s.Error)
			}
			r.nothingLeft(before)
		})
	}
}
