package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"imageport/job"
)

// doing is what a job does in a phase.
var doing = map[job.Phase]string{
	job.PhasePreflight: "The share, the image and the platform are looked at. Nothing was changed yet.",
	job.PhaseCreateCE:  "The platform makes the Compositing Engine.",
	job.PhaseEnrol:     "The Compositing Engine starts, and has yet to report.",
	job.PhaseCompose:   "The Compositing Engine works on the image. How far it is: tab Pending Activities.",
	job.PhaseBoot:      "The Windows of the copy runs, and installs.",
	job.PhaseVerify:    "What was made is put to the test. How far that is: tab Pending Activities.",
	job.PhasePublish:   "The output gets its name.",
	job.PhaseTearDown:  "The Compositing Engine and partial files are removed.",
}

// describe writes the status for the Web UI.
func (j *lifecycle) describe(ctx workflow.Context) {
	s := &j.status
	var d details
	op := plain(string(s.Operation))
	switch {
	case s.State == job.StateRunning && s.Error != nil:
		d.paragraph("%s **has failed**, and cleans up", op)
	case s.State == job.StateRunning:
		d.paragraph("%s running: **%s**, since %s", op, s.Phase, j.entered.UTC().Format(time.DateTime+" MST"))
		d.paragraph("%s", doing[s.Phase])
	case s.State == job.StateCanceled:
		d.paragraph("%s **canceled** in phase %s: nothing is left of it", op, s.Phase)
	case s.State == job.StateCompleted:
		d.paragraph("%s **completed**", op)
	default:
		d.paragraph("%s **%s** in phase %s", op, s.State, s.Phase)
	}
	d.problem(s.Error)
	d.next(s)
	d.name("image", s.Image)
	d.name("output", s.Output)
	d.result(s.Result)
	if s.CE != "" && s.State == job.StateRunning {
		d.name("Compositing Engine on "+plain(s.Platform), s.CE)
	}
	if s.State != job.StateCanceled { // they are about an output
		for _, w := range s.Warnings {
			d.item("warning: %s", plain(w))
		}
	}
	d.show(ctx)
}

// result says what a completed job has made, or would make.
func (d *details) result(r *job.Result) {
	if r == nil {
		return
	}
	if r.DryRun {
		d.name("EFI system partition", string(r.ESPPlacement))
	} else {
		if r.SizeBytes > 0 {
			d.name("size", fmt.Sprintf("%d bytes", r.SizeBytes))
		}
		d.name("sha256", r.SHA256)
		d.name("VM", r.VM)
	}
	if up := r.Upgrade; up != nil && !up.Skipped {
		d.name("PVS target software", strings.TrimSpace(up.From+" -> "+up.To))
	}
}

// next says what to do with the output of a completed job, or that there is none.
func (d *details) next(s *job.Status) {
	switch r := s.Result; {
	case r == nil:
	case r.Upgrade != nil && r.Upgrade.Skipped:
		d.paragraph("Nothing was made: the image has version %s already.", code(r.Upgrade.From))
	case r.DryRun:
		d.paragraph("It was a dry run: nothing was changed, and the result is the plan. Start the job without dryRun to have it done.")
	case r.PVS != nil:
		d.paragraph("**Next**, in Citrix Provisioning:")
		d.script(r.PVS.PowerShell)
		d.paragraph("And for the target devices:")
		for _, t := range r.PVS.Targets {
			d.item("%s", plain(t))
		}
		d.WriteString("\n")
	case s.Operation == job.OpUpgradePVS:
		d.nextOfUpgrade(r)
	case s.Operation == job.OpReverseImage:
		d.nextOfReverse(r)
	}
}

// script adds lines of PowerShell. They are entries of a list: the Web UI cuts off
// what is too long in a block.
func (d *details) script(lines []string) {
	for _, line := range lines {
		if comment, ok := strings.CutPrefix(line, "# "); ok {
			d.item("%s", plain(comment))
		} else {
			d.item("%s", code(line))
		}
	}
	d.WriteString("\n")
}

// nextOfUpgrade is what docs/pvs.md says about a new vDisk.
func (d *details) nextOfUpgrade(r *job.Result) {
	name, format := strings.TrimSuffix(r.OutputFile, ".vhd"), ""
	if vhdx, ok := strings.CutSuffix(r.OutputFile, ".vhdx"); ok {
		name, format = vhdx, " -VHDX"
	}
	d.paragraph("**Next**, in Citrix Provisioning, with site, store and server filled in:")
	d.script([]string{fmt.Sprintf("New-PvsDiskLocator -Name '%s'%s -SiteName '<SITE>' -StoreName '<STORE>' -ServerName '<PVS SERVER>'", strings.ReplaceAll(name, "'", "''"), format)})
	d.item("Copy what matters of the old vDisk's properties: write cache, licence mode, Active Directory password management.")
	d.item("Try it with one target device in private mode, then twice in standard mode.")
	d.item("PVS servers come before target devices: servers older than the target software are not supported.")
	d.WriteString("\n")
}

// nextOfReverse is what docs/pvs.md says about a native disk.
func (d *details) nextOfReverse(r *job.Result) {
	d.paragraph("**Next**:")
	if r.VM != "" {
		d.item("Start the VM that was left around the disk.")
	} else {
		d.item("Attach the disk to a VM with %s firmware and start that from it. In PVS, set a target device to boot from its hard disk.", strings.ToUpper(string(r.Firmware)))
	}
	d.item("Its identity is that of the vDisk: if its computer account is old, reset the trust with the domain.")
	d.item("Back to a vDisk, after updates: Citrix's Imaging Wizard, in the running Windows.")
	d.WriteString("\n")
}
