package gcp

import (
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"

	"imageport/job"
	"imageport/lab/gce"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// What is asked for a CE.
func TestTemplate(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.cfg.Now = func() time.Time { return platformtest.Deadline.Add(-2 * time.Hour) }
	h.where.CENetwork = &job.CENetwork{Address: "10.1.2.3/24"}
	platformtest.Do(t, h, platformtest.Create)
	in := h.vm(t, platformtest.NewSpec().Name)
	nic := in.NetworkInterfaces[0]
	for what, ok := range map[string]bool{
		"an address outside":    len(nic.AccessConfigs) == 0,
		"a service account":     len(in.ServiceAccounts) == 0,
		"keys of the project":   item(in.Metadata, "block-project-ssh-keys") == "true",
		"its own address":       nic.GetNetworkIP() == "10.1.2.3",
		"a log of its console":  item(in.Metadata, "serial-port-logging-enable") == "true",
		"the limit of its run":  in.Scheduling.MaxRunDuration.GetSeconds() == int64((2*time.Hour+runSlack)/time.Second),
		"what then":             in.Scheduling.GetInstanceTerminationAction() == "DELETE",
		"no restart":            in.Scheduling.AutomaticRestart != nil && !in.Scheduling.GetAutomaticRestart(),
		"a plug to pull":        in.Scheduling.GetSkipGuestOsShutdown(),
		"secure boot":           !in.ShieldedInstanceConfig.GetEnableSecureBoot(),
		"tags":                  len(in.Tags.Items) == 1 && in.Tags.Items[0] == "imageport",
		"the machine":           lastName(in.GetMachineType()) == "e2-medium",
		"the boot disk goes":    in.Disks[0].GetAutoDelete() && in.Disks[0].GetBoot(),
		"the job":               item(in.Metadata, keyJob) == platformtest.NewSpec().Job,
		"the owner":             item(in.Metadata, keyOwner) == platformtest.NewSpec().Owner,
		"the label's owner":     strings.HasPrefix(in.Labels[labelOwner], "sha256-"),
		"no secret in a label":  len(in.Labels) == 2,
		"the image is for UEFI": h.cloud.Disks()[0].GuestOsFeatures[0].GetType() == "UEFI_COMPATIBLE",
	} {
		if !ok {
			t.Errorf("%s: %v", what, in.Instance)
		}
	}
	platformtest.Clean(t, h)
}

func TestRunLimits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for want, now := range map[time.Duration]time.Time{
		minRun: platformtest.Deadline.Add(time.Hour), runSlack: platformtest.Deadline, maxRun: platformtest.Deadline.AddDate(-1, 0, 0), time.Hour + runSlack: platformtest.Deadline.Add(-time.Hour),
	} {
		cfg := h.cfg
		cfg.Now = func() time.Time { return now }
		in := h.open(t, cfg, h.where).template("z", platformtest.NewSpec(), "", "")
		if got := time.Duration(in.Scheduling.MaxRunDuration.GetSeconds()) * time.Second; got != want {
			t.Errorf("a CE may run for %v; want %v", got, want)
		}
	}
}

// When its time is over, the cloud removes a CE as Destroy does; one that is off has
// time.
func TestRunEnds(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	name := platformtest.NewSpec().Name
	end := func() {
		h.cloud.EndRun(h.cloud.Zones()[0], name)
		h.quiet(t)
	}
	platformtest.Do(t, h, platformtest.Create, platformtest.AddDisk, platformtest.Stop)
	end()
	platformtest.Do(t, h, platformtest.Restart, platformtest.AddDisk)
	end()
	if left, outputs := h.Leftovers(t), h.Outputs(t); len(left)+len(outputs) > 0 {
		t.Errorf("there is still %q, %q", left, outputs)
	}
	platformtest.Do(t, h, platformtest.Create, platformtest.AddDisk, platformtest.KeepDisk)
	end()
	if outputs := h.Outputs(t); len(outputs) != 1 {
		t.Errorf("what was kept: %q", outputs)
	}
	platformtest.Clean(t, h)
}

// An instance that is on its way somewhere is waited for, one that somebody has
// suspended is not.
func TestOddStates(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.cfg.PollInterval = time.Millisecond
	name, zone := platformtest.NewSpec().Name, h.cloud.Zones()[0]
	platformtest.Do(t, h, platformtest.Create)
	for status, want := range map[string]platforms.State{
		"PROVISIONING": platforms.Running, "STAGING": platforms.Running, "REPAIRING": platforms.Running, "RUNNING": platforms.Running,
		"STOPPING": platforms.Stopped, "SUSPENDED": platforms.Stopped, "TERMINATED": platforms.Stopped,
	} {
		h.cloud.SetStatus(zone, name, status)
		if in, err := h.Open(t).Find(t.Context(), name); err != nil || in.State != want {
			t.Errorf("%s: %+v, %v", status, in, err)
		}
	}
	for _, status := range []string{"STAGING", "STOPPING"} {
		h.cloud.SetStatus(zone, name, status)
		go func() {
			time.Sleep(50 * time.Millisecond)
			h.cloud.SetStatus(zone, name, "RUNNING")
		}()
		platformtest.Do(t, h, platformtest.Create)
		h.cloud.SetStatus(zone, name, status)
		go func() {
			time.Sleep(50 * time.Millisecond)
			h.cloud.SetStatus(zone, name, "RUNNING")
		}()
		platformtest.Do(t, h, platformtest.Stop)
		platformtest.Do(t, h, platformtest.Restart)
	}
	h.cloud.SetStatus(zone, name, "SUSPENDED")
	if err := platformtest.NewCall(h, platformtest.Create).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Busy || !strings.Contains(err.Error(), "suspended") {
		t.Errorf("%v", err)
	}
	platformtest.Do(t, h, platformtest.Stop)
	h.cloud.SetStatus(zone, name, "STAGING") // for ever
	if err := platformtest.NewCall(h, platformtest.Create).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("%v", err)
	}
	platformtest.Clean(t, h)
}

// Somebody changes the metadata between looking and starting.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Do(t, h, platformtest.Stop)
	stale := h.vm(t, platformtest.NewSpec().Name)
	if err := h.eye.start(t.Context(), stale, `{"a":1}`); err != nil {
		t.Fatal(err)
	}
	platformtest.Do(t, h, platformtest.Stop)
	if err := h.eye.start(t.Context(), stale, `{"a":2}`); !inTheWay(err) || kindOf(err) != platforms.Busy {
		t.Errorf("%v", err)
	}
	platformtest.Do(t, h, platformtest.Restart)
	if got := h.Seed(t, platformtest.NewSpec().Name).Gateway.Token; got != "token-of-the-restart" {
		t.Errorf("it is told %q", got)
	}
	if got := item(h.vm(t, platformtest.NewSpec().Name).Metadata, keyJob); got != platformtest.NewSpec().Job {
		t.Errorf("the marks are gone: %q", got)
	}
	platformtest.Clean(t, h)
}

// Pages of lists are read to the end.
func TestPages(t *testing.T) {
	t.Parallel()
	h := newHarnessWith(t, gce.Config{PageSize: 2})
	h.where.GCPZones = ""
	d := h.Open(t)
	for _, id := range []string{"000000000001", "000000000002", "000000000003", "000000000004", "000000000005"} {
		if _, err := d.Create(t.Context(), platforms.Spec{Name: "ce-" + id, Job: "j", Owner: "o", Seed: platformtest.Seed(id, platformtest.Deadline)}); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := d.List(t.Context()); err != nil || len(list) != 5 {
		t.Errorf("%v, %v", list, err)
	}
}

// A disk of a CE that has no instance any more is all there is of it.
func TestDisksOnly(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	if !h.Cut(t, platformtest.NewCall(h, platformtest.Create), 60) || h.Cut(t, platformtest.NewCall(h, platformtest.AddDisk), 0) {
		t.Fatal("not cut as meant")
	}
	v := h.vm(t, platformtest.NewSpec().Name)
	if err := h.eye.deleteVM(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	list, err := h.Open(t).List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if in := list[0]; in.Name != v.GetName() || in.Job != platformtest.NewSpec().Job || in.Owner != platformtest.NewSpec().Owner || in.RunID != "run" ||
		in.State != platforms.Stopped || in.Created.IsZero() || !strings.Contains(in.Ref, "/disks/") {
		t.Errorf("%+v", in)
	}
	platformtest.Do(t, h, platformtest.Create) // it removes that first
	if outputs := h.Outputs(t); len(outputs) > 0 {
		t.Errorf("there is %q", outputs)
	}
	platformtest.Clean(t, h)
}

// States of disks that are an accident's.
func TestOddDisks(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.cfg.PollInterval = time.Millisecond
	zone, output := h.cloud.Zones()[0], h.OutputDisk(0).Name
	partial := partialName(platformtest.NewSpec().Name, output)
	is := func(err error, kind platforms.Kind, text string) {
		t.Helper()
		if platforms.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
			t.Errorf("%v; want %s, %q", err, kind, text)
		}
	}
	add := func() error { return platformtest.NewCall(h, platformtest.AddDisk).Do(t.Context(), h.Open(t)) }
	keep := func() error { return platformtest.NewCall(h, platformtest.KeepDisk).Do(t.Context(), h.Open(t)) }
	platformtest.Do(t, h, platformtest.Create)

	if h.Cut(t, platformtest.NewCall(h, platformtest.AddDisk), 0) {
		t.Fatal("not cut")
	}
	is(keep(), platforms.NotFound, "never had it")
	h.cloud.SetStatus(zone, partial, "FAILED") // it is made anew
	platformtest.Do(t, h, platformtest.AddDisk)

	op, err := h.eye.instances.DetachDisk(t.Context(), &computepb.DetachDiskInstanceRequest{
		Project: h.eye.place.project, Zone: zone, Instance: platformtest.NewSpec().Name, DeviceName: h.vm(t, platformtest.NewSpec().Name).disk(partial).GetDeviceName(),
	})
	if err := h.eye.inZone(t.Context(), zone, op, err); err != nil {
		t.Fatal(err)
	}
	is(add(), platforms.NotFound, "was detached")

	if h.Cut(t, platformtest.NewCall(h, platformtest.KeepDisk), 0) { // it copies
		t.Fatal("not cut")
	}
	h.cloud.SetStatus(zone, output, "FAILED")
	platformtest.Do(t, h, platformtest.KeepDisk) // it copies once more
	is(add(), platforms.BadRequest, "kept already")
	h.RemoveOutput(t, output)
	is(keep(), platforms.NotFound, "no output disk")

	// A copy that is under way, and one that failed, when the CE is removed.
	for status, gone := range map[string]bool{"CREATING": false, "FAILED": true, "READY": false} {
		platformtest.Do(t, h, platformtest.Create)
		platformtest.Do(t, h, platformtest.AddDisk)
		if h.Cut(t, platformtest.NewCall(h, platformtest.KeepDisk), 1) {
			t.Fatal("not cut")
		}
		h.cloud.SetStatus(zone, output, status)
		if status == "CREATING" {
			is(platformtest.NewCall(h, platformtest.Destroy).Do(t.Context(), h.Open(t)), platforms.Busy, "is being copied")
			h.cloud.SetStatus(zone, output, "READY")
		}
		platformtest.Do(t, h, platformtest.Destroy)
		if left := h.Outputs(t); (len(left) == 0) != gone {
			t.Errorf("%s: there is %q", status, left)
		}
		h.RemoveOutput(t, output)
	}
	if err := h.cloud.MakeDisk(zone, partial, gib); err != nil {
		t.Fatal(err)
	}
	platformtest.Do(t, h, platformtest.Create)
	is(add(), platforms.Foreign, "did not make")
	is(keep(), platforms.NotFound, "somebody else made")
	h.cloud.RemoveDisk(zone, partial)
	platformtest.Clean(t, h)
	if err := h.cloud.MakeDisk(zone, platformtest.NewSpec().Name, gib); err != nil {
		t.Fatal(err)
	}
	is(platformtest.NewCall(h, platformtest.Create).Do(t.Context(), h.Open(t)), platforms.Foreign, "did not make")
	h.cloud.RemoveDisk(zone, platformtest.NewSpec().Name)
}

// A kept disk says what starts from it.
func TestDiskFeatures(t *testing.T) {
	t.Parallel()
	for firmware, want := range map[job.Firmware]string{"": "", job.BIOS: "WINDOWS", job.UEFI: "WINDOWS UEFI_COMPATIBLE"} {
		h := newHarness(t)
		platformtest.Do(t, h, platformtest.Create)
		call := platformtest.NewCall(h, platformtest.AddDisk)
		call.Disk.Firmware = firmware
		d := h.Open(t)
		if err := call.Do(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		call.Verb = platformtest.KeepDisk
		if err := call.Do(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, x := range h.cloud.Disks() {
			if x.GetName() == call.Disk.Name {
				for _, f := range x.GuestOsFeatures {
					got = append(got, f.GetType())
				}
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("firmware %q: the disk has %q, want %q", firmware, got, want)
		}
		platformtest.Do(t, h, platformtest.Destroy)
	}
}
