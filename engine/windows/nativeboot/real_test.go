package nativeboot

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imageport/engine/disk/overlay"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/offline"
	"imageport/job"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/ntfs3g"
	"imageport/testkit/winimage/windisk"
)

// unpack gives a real hive, see hive/testdata.
func unpack(t *testing.T, name string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "xz", "-dc", "../hive/testdata/"+name+".xz").Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const (
	realStart = mib
	realSize  = 96 * mib
)

// realDisk is a disk whose C: has the files given and, with something in them,
// those of the inbox drivers.
func realDisk(t *testing.T, files map[string][]byte) *overlay.Overlay {
	t.Helper()
	volume := filepath.Join(t.TempDir(), "volume")
	if err := os.WriteFile(volume, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(volume, realSize); err != nil {
		t.Fatal(err)
	}
	if err := ntfs3g.Format(t.Context(), volume, "Windows", realStart/512, 512); err != nil {
		t.Fatal(err)
	}
	v, err := ntfs3g.Mount(t.Context(), volume)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"storahci", "stornvme", "lsi_sas", "vmbus", "storvsc", "vmstorfl", "intelide", "atapi"} {
		files["drivers/"+name+".sys"] = []byte("MZ")
	}
	for name, data := range files {
		path := filepath.Join(v.Dir, "Windows/System32", name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if err := v.Unmount(); err != nil {
		t.Fatal(err)
	}
	out := overlay.New(longer{atOffset{windisk.Open(t, volume, 512)}, realStart + realSize + mib})
	mbr := make([]byte, 512)
	entry := mbr[446:]
	entry[0], entry[4] = 0x80, 0x07
	binary.LittleEndian.PutUint32(entry[8:], realStart/512)
	binary.LittleEndian.PutUint32(entry[12:], realSize/512)
	mbr[510], mbr[511] = 0x55, 0xaa
	if _, err := out.WriteAt(mbr, 0); err != nil {
		t.Fatal(err)
	}
	return out
}

// atOffset is a volume as a disk, behind zeros.
type atOffset struct{ windisk.Raw }

func (d atOffset) Size() int64 { return realStart + d.Raw.Size() }

func (d atOffset) ReadAt(b []byte, off int64) (int, error) {
	skip := int(max(0, min(int64(len(b)), realStart-off)))
	clear(b[:skip])
	n, err := d.Raw.ReadAt(b[skip:], max(0, off-realStart))
	return skip + n, err
}

// The registry of a Windows 10 that Windows itself wrote: it ran on a machine
// without NVMe, outside of Hyper-V.
func TestRealWindows10(t *testing.T) {
	clean := unpack(t, "win10-mbr.SYSTEM")
	copy(clean[8:12], clean[4:8]) // as if it had been written to its end
	binary.LittleEndian.PutUint32(clean[508:], sum(clean))
	d := realDisk(t, map[string][]byte{"config/SYSTEM": clean})
	before := reglookup(t, clean)
	for _, c := range []struct {
		platform string
		want     []job.Controller
		fixUps   []string
	}{
		{job.PlatformVSphere, []job.Controller{job.AHCI, job.NVMe}, []string{`stornvme\StartOverride 0=3>`}},
		{job.PlatformAzure, []job.Controller{job.VMBus}, []string{`vmbus\StartOverride 0=3>`, `storvsc\StartOverride 0=3>`, `storflt\StartOverride 0=3>`}},
		{job.PlatformXenServer, []job.Controller{job.AHCI, job.NVMe}, []string{`stornvme\StartOverride 0=3>`}},
	} {
		t.Run(c.platform, func(t *testing.T) {
			p := plan(t, d, c.platform, d.Size())
			if !slices.Equal(p.Controllers, c.want) || !slices.Equal(brief(p.FixUps), c.fixUps) {
				t.Errorf("controllers %v, fix-ups %q", p.Controllers, brief(p.FixUps))
			}
			// Without SOFTWARE, nobody knows whether it is too new for LSI's driver.
			if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "what Windows it is cannot be told") {
				t.Errorf("warnings %q", p.Warnings)
			}
			out := apply(t, d, p, c.platform, d.Size())
			after := windisk.File(t, out, winimage.Partition{StartBytes: realStart, SizeBytes: realSize}, offline.PathSystem)
			got := differences(before, reglookup(t, after))
			if len(got) != 2*len(c.fixUps) {
				t.Errorf("reglookup sees the changes\n%s", strings.Join(got, "\n"))
			}
			for _, line := range got {
				if !strings.HasPrefix(line, "-/ControlSet001/Services/") || !strings.Contains(line, "/StartOverride") {
					t.Errorf("reglookup sees %s", line)
				}
			}
			pages := 0
			for _, w := range p.Writes {
				pages += len(w.Data) / overlay.PageSize
			}
			if pages > 2+5*len(c.fixUps) {
				t.Errorf("%d pages are written", pages)
			}
		})
	}
}

// A real hive that was copied while Windows ran is changed as its logs complete
// it; where it has become too long for that, it is refused.
func TestRealLogs(t *testing.T) {
	primary, log1, log2 := unpack(t, "dirty.SYSTEM"), unpack(t, "dirty.SYSTEM.LOG1"), unpack(t, "dirty.SYSTEM.LOG2")
	r, err := hive.Replay(primary, log1, log2)
	if err != nil {
		t.Fatal(err)
	}
	files := func(primary []byte) map[string][]byte {
		return map[string][]byte{"config/SYSTEM": primary, "config/SYSTEM.LOG1": log1, "config/SYSTEM.LOG2": log2}
	}
	d := realDisk(t, files(primary))
	p := plan(t, d, job.PlatformAzure, d.Size())
	if len(p.FixUps) < 2 || !strings.Contains(p.FixUps[len(p.FixUps)-1].New, "entries of its log") {
		t.Fatalf("%q, %q", brief(p.FixUps), p.Warnings)
	}
	out := apply(t, d, p, job.PlatformAzure, d.Size())
	after := windisk.File(t, out, winimage.Partition{StartBytes: realStart, SizeBytes: realSize}, offline.PathSystem)
	for _, line := range differences(reglookup(t, r.Hive), reglookup(t, after)) {
		if !strings.Contains(line, "/Services/") || !strings.Contains(line, "/StartOverride") && !strings.Contains(line, "/Start,") {
			t.Errorf("reglookup sees %s", line)
		}
	}
	// What is in the logs is in the hive now: replayed again, nothing changes.
	if again, err := hive.Replay(after, log1, log2); err != nil || again.Replayed {
		t.Errorf("the hive is dirty (%v)", err)
	}

	full := primary[:4096+binary.LittleEndian.Uint32(primary[40:])] // without what is behind its bins
	if len(full) >= len(r.Hive) {
		t.Fatalf("of %d bytes, the hive has not grown", len(full))
	}
	d = realDisk(t, files(full))
	if _, err := New(t.Context(), d, Target{Platform: job.PlatformAzure, SizeBytes: d.Size()}); job.CodeOf(err) != job.HiveNoSpace {
		t.Errorf("no room: %v", err)
	}
}

// sum is the checksum of a hive's base block.
func sum(b []byte) uint32 {
	x := uint32(0)
	for i := 0; i < 508; i += 4 {
		x ^= binary.LittleEndian.Uint32(b[i:])
	}
	return x
}
