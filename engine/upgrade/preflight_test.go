package upgrade

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"imageport/engine/catalogue"
	"imageport/engine/disk/overlay"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/pvstarget"
	"imageport/firstboot/plan"
	"imageport/job"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/windisk"
)

// small is a disk with one partition, quickly made.
func small() winimage.Spec {
	return winimage.Spec{SizeBytes: 128 << 20, BootFiles: winimage.SmallBootFiles}
}

// in changes a hive.
func in(path string, change func(h *hive.Hive) error) func(testing.TB, *overlay.Overlay, winimage.Partition) {
	return func(t testing.TB, d *overlay.Overlay, p winimage.Partition) { windisk.Edit(t, d, p, path, change) }
}

// boot changes the beginning of C:.
func boot(text string) func(testing.TB, *overlay.Overlay, winimage.Partition) {
	return func(t testing.TB, d *overlay.Overlay, p winimage.Partition) {
		if _, err := d.WriteAt([]byte(text), p.StartBytes+3); err != nil {
			t.Fatal(err)
		}
	}
}

// file changes a file of C:.
func file(path string, at int, data string) func(testing.TB, *overlay.Overlay, winimage.Partition) {
	return func(t testing.TB, d *overlay.Overlay, p winimage.Partition) { over(t, d, p, path, at, []byte(data)) }
}

// unfinished is a hive of which the end was not written.
func unfinished(path string) func(testing.TB, *overlay.Overlay, winimage.Partition) {
	return func(t testing.TB, d *overlay.Overlay, p winimage.Partition) {
		windisk.Replace(t, d, p, path, func(old []byte) []byte {
			le := binary.LittleEndian
			le.PutUint32(old[4:], le.Uint32(old[8:])+1)
			var sum uint32
			for at := 0; at < 508; at += 4 {
				sum ^= le.Uint32(old[at:])
			}
			le.PutUint32(old[508:], sum)
			return old
		})
	}
}

const (
	uninstall = `Microsoft\Windows\CurrentVersion\Uninstall\`
	nicKey    = `ControlSet001\Enum\PCI\VEN_15AD&DEV_07B0&SUBSYS_07B015AD&REV_01\`
	classKey  = "{4d36e972-e325-11ce-bfc1-08002be10318}"
)

// What is in the image decides: everything else about the job is in order.
func TestPreflightRefusesWindows(t *testing.T) {
	facts := must(t, func() (pvstarget.Facts, error) {
		img, err := oldDisk()
		if err != nil {
			return pvstarget.Facts{}, err
		}
		return pvstarget.Inspect(t.Context(), onDisk(t, img.Path))
	})
	for _, c := range []struct {
		name   string
		change func(testing.TB, *overlay.Overlay, winimage.Partition)
		code   job.Code
		says   string
	}{
		{"hibernated", file(`\hiberfil.sys`, 0, "HIBR"), job.Hibernated, "partition 2"},
		{"shut down with fast startup", file(`\hiberfil.sys`, 0, "hibr"), job.Hibernated, "fast startup"},
		{"waking up", file(`\hiberfil.sys`, 0, "WAKE"), job.Hibernated, "hibernated"},
		{"marked for chkdsk", func(t testing.TB, d *overlay.Overlay, p winimage.Partition) { forChkdsk(t, d, p) }, job.NTFSDirty, "marked dirty"},
		{"not dismounted", func(t testing.TB, d *overlay.Overlay, p winimage.Partition) { inJournal(t, d, p) }, job.NTFSDirty, "journal"},
		{"damaged NTFS", func(t testing.TB, d *overlay.Overlay, p winimage.Partition) {
			if _, err := d.WriteAt([]byte("BAAD"), p.StartBytes+place(t, d, p, `\$MFT`)); err != nil {
				t.Fatal(err)
			}
		}, job.NTFSCorrupt, "partition 2"},
		{"SYSTEM without its end", unfinished(system), job.HiveDirty, "SYSTEM"},
		{"SOFTWARE without its end", unfinished(software), job.HiveDirty, "SOFTWARE"},
		{"damaged SYSTEM", file(system, 4096, "junk"), job.HiveCorrupt, "SYSTEM"},
		{"damaged SOFTWARE", file(software, 4096, "junk"), job.HiveCorrupt, "SOFTWARE"},
		{"BitLocker", boot("-FVE-FS-"), job.BitLocker, "BitLocker"},
		{"ReFS", boot("ReFS\x00\x00\x00\x00"), job.NoWindows, "no partition"},
		{"no partition table", func(t testing.TB, d *overlay.Overlay, _ winimage.Partition) {
			if _, err := d.WriteAt(make([]byte, 512), 0); err != nil {
				t.Fatal(err)
			}
		}, job.NoWindows, "no partition table"},
		{"dynamic disk", func(t testing.TB, d *overlay.Overlay, _ winimage.Partition) {
			for entry := range int64(3) {
				if _, err := d.WriteAt([]byte{0x42}, 446+16*entry+4); err != nil {
					t.Fatal(err)
				}
			}
		}, job.DynamicDisk, "dynamic"},
		{"generalized", in(software, set(`Microsoft\Windows\CurrentVersion\Setup\State`, hive.SZ("ImageState", "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"))), job.SetupPending, "GENERALIZE"},
		{"in its set-up", in(system, set(`Setup`, hive.DWORD("SetupType", 2))), job.SetupPending, "SetupType=2"},
		{"Windows 7", in(software, set(`Microsoft\Windows NT\CurrentVersion`, hive.SZ("CurrentBuild", "7601"))), job.OSTooOld, "7601"},
		{"Windows 10 of 2015", in(software, set(`Microsoft\Windows NT\CurrentVersion`, hive.SZ("CurrentBuild", "14392"))), job.OSTooOld, "14392"},
		{"for x86", func(t testing.TB, d *overlay.Overlay, p winimage.Partition) {
			windisk.Replace(t, d, p, `\Windows\System32\ntoskrnl.exe`, func(old []byte) []byte {
				pe := binary.LittleEndian.Uint32(old[0x3c:])
				binary.LittleEndian.PutUint16(old[pe+4:], 0x014c)
				return old
			})
		}, job.NotX64, "x86"},
		{"not in the list of programs", in(software, func(h *hive.Hive) error {
			return h.DeleteKey(uninstall + facts.ProductCode)
		}), job.PVSRegistrationBroken, "contradicts itself"},
		{"not known to Windows Installer", in(software, func(h *hive.Hive) error {
			return h.DeleteKey(`Classes\Installer\Products`)
		}), job.PVSRegistrationBroken, "contradicts itself"},
		{"with something of an earlier upgrade", in(system, set(`ControlSet001\Services\`+plan.Service, hive.DWORD("Start", 4))), job.LeftoverRunner, plan.Service},
		{"without a driver for the platform", in(system, func(h *hive.Hive) error {
			var errs []error
			for _, name := range []string{"storahci", "stornvme", "LSI_SAS", "pvscsi"} {
				errs = append(errs, h.DeleteKey(`ControlSet001\Services\`+name))
			}
			return errors.Join(errs...)
		}), job.NativeDriversMissing, "no driver"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.version(t, c.change)
			s.refuses(t, c.code, c.says)
		})
	}
	for _, c := range []struct {
		name   string
		change func(s *winimage.Spec)
		code   job.Code
		says   string
	}{
		{"without the software", func(s *winimage.Spec) { s.NoPVS = true }, job.PVSNotInstalled, "not installed"},
		{"with what somebody has written into the list of programs", func(*winimage.Spec) {}, job.PVSRegistrationBroken, "contradicts itself"},
		{"no Windows", func(s *winimage.Spec) { s.NoWindows = true }, job.NoWindows, "no partition"},
		{"two of them", func(s *winimage.Spec) {
			s.SizeBytes, s.Data = 256<<20, []winimage.Data{{Letter: "D", MiB: 100, Windows: true}}
		}, job.MultipleWindows, "partition 1 and partition 2"},
		{"SYSTEM with bad logs", func(s *winimage.Spec) { s.DirtySystemHiveBadLogs = true }, job.HiveDirty, "SYSTEM"},
		// The hive is completed, and what it says then is judged.
		{"SYSTEM with its logs", func(s *winimage.Spec) { s.DirtySystemHiveWithLogs, s.NoPVS = true, true }, job.PVSNotInstalled, "not installed"},
		{"overlapping partitions", func(s *winimage.Spec) { s.SizeBytes, s.SystemReservedMiB, s.Overlap = 256<<20, 50, true }, job.BadPartitionTable, "overlap"},
		{"sectors of 4 KiB", func(s *winimage.Spec) { s.SectorSize = 4096 }, job.UnsupportedDisk, "4096"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, spec := newSite(t), small()
			c.change(&spec)
			s.takes(t, spec)
			s.refuses(t, c.code, c.says)
		})
	}
}

// refuses wants the preflight to refuse, and not to change anything.
func (s *site) refuses(t *testing.T, code job.Code, says string) {
	t.Helper()
	before, catalogue := files(t, s.dir), files(t, s.catalogue.Dir)
	_, err := s.preflight(t)
	refused(t, err, code, says)
	if after := files(t, s.dir); after != before {
		t.Errorf("the folder changed\nbefore\n%safter\n%s", before, after)
	}
	if after := files(t, s.catalogue.Dir); after != catalogue {
		t.Errorf("the catalogue changed\nbefore\n%safter\n%s", catalogue, after)
	}
}

// admits is the opposite.
func (s *site) admits(t *testing.T) Admitted {
	t.Helper()
	before := files(t, s.dir)
	out, err := s.preflight(t)
	if err != nil {
		t.Fatal(err)
	}
	if after := files(t, s.dir); after != before {
		t.Errorf("the folder changed\nbefore\n%safter\n%s", before, after)
	}
	return out
}

// What is in order is planned, and what people should know is said.
func TestPreflight(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.version(t, func(t testing.TB, d *overlay.Overlay, p winimage.Partition) {
		windisk.Edit(t, d, p, system, set(`ControlSet001\Control\Session Manager`, hive.MultiSZ("PendingFileRenameOperations", `\??\C:\a`, "")))
		windisk.Edit(t, d, p, system, set(nicKey+`4&1`, hive.SZ("ClassGUID", classKey)))
	})
	out := s.admits(t)
	a, r := out.Approval, out.Preview
	c := windisk.Windows(t, must(t, oldDisk))
	if b := a.Before; b.Version != oldVersion || b.Offset != c.StartBytes || b.SizeBytes != c.SizeBytes || len(b.NICs) != 1 || len(b.Services) != 4 {
		t.Errorf("found %+v", b)
	}
	if out.Done || a.Copy.SizeBytes != must(t, oldDisk).Spec.SizeBytes || len(a.Copy.Source) != 2 || a.Copy.PlanDigest == "" || a.BlockBytes != 2<<20 || a.Existing != nil || !a.Copy.UsedOnly {
		t.Errorf("approved %+v", a)
	}
	if u := r.Upgrade; u == nil || u.From != oldVersion || u.To != newVersion || u.SHA256 != s.installer.SHA256 || u.Skipped || r.PVSTarget != oldVersion || len(r.FixUps) == 0 || r.WindowsBuild != 19045 {
		t.Errorf("the preview is %+v, %+v", r, r.Upgrade)
	}
	if !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "PendingFileRenameOperations") }) {
		t.Errorf("warnings %q", r.Warnings)
	}
	p := s.task.Plan(a)
	if err := p.Validate(); err != nil || p.Job != s.task.Copy.Job || p.DeadlineSeconds != 3600 {
		t.Errorf("%+v, %v", p, err)
	}
}

// Versions decide whether there is anything to do, and whether it can be done.
func TestPreflightVersions(t *testing.T) {
	for _, c := range []struct {
		name     string
		to, from string // of the installer: its version, and minFrom
		force    bool
		done     bool
		code     job.Code
		says     string
	}{
		{"newer", newVersion, "", false, false, "", ""},
		{"newer, from the oldest that it can", newVersion, oldVersion, false, false, "", ""},
		{"newer, from less than it has", newVersion, "7.33", false, false, "", ""},
		{"newer, but not from this one", newVersion, "7.33.0.101", false, false, job.PVSTooOld, "7.33.0.101"},
		{"the same", oldVersion, "", false, true, "", ""},
		{"the same in fewer numbers", "7.33", "", false, true, "", ""},
		{"the same, by force", oldVersion, "", true, false, "", ""},
		{"older", "7.32.9.9", "", false, false, job.PVSDowngrade, oldVersion},
		{"older, by force", "7.9.0.1", "", true, false, job.PVSDowngrade, "7.9.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.offer(t, func(in *catalogue.Installer) { in.ProductVersion, in.MinFrom = c.to, c.from })
			s.task.Force = c.force
			if c.code != "" {
				s.refuses(t, c.code, c.says)
				return
			}
			out := s.admits(t)
			if out.Done != c.done || out.Preview.Upgrade.Skipped != c.done || out.Preview.Upgrade.To != c.to {
				t.Errorf("%+v, %+v", out.Done, out.Preview.Upgrade)
			}
			if strings.Contains(fmt.Sprint(out.Preview.Warnings), "restart") {
				t.Errorf("warnings %q", out.Preview.Warnings)
			}
			if wrong := c.to != newVersion && !c.done; wrong != strings.Contains(fmt.Sprint(out.Preview.Warnings), "its product version is "+newVersion) {
				t.Errorf("warnings %q", out.Preview.Warnings)
			}
		})
	}
	t.Run("nothing to do has nothing in its way", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.offer(t, func(in *catalogue.Installer) { in.ProductVersion = oldVersion })
		s.put(t, s.task.Output, "an output that is there")
		s.version(t, in(system, set(`ControlSet001\Services\`+plan.Service, hive.DWORD("Start", 4))))
		s.store = readOnly{s.store}
		if out := s.admits(t); !out.Done || out.Approval.Existing != nil {
			t.Errorf("%+v", out)
		}
	})
}
