package convert

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"imageport/job"
	"imageport/testkit/winimage"
)

// accepted has the tools of others judge a converted disk: its partition table,
// its EFI system partition, its Windows volume and the hives on both.
func accepted(t *testing.T, raw string, r job.Result) {
	t.Helper()
	tool := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
			t.Errorf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "sgdisk", "-v", raw).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("No problems found")) {
		t.Errorf("sgdisk: %v\n%s", err, out)
	}
	dir := t.TempDir()
	copyPartition := func(p job.Partition, to string) {
		t.Helper()
		part := winimage.Partition{StartBytes: p.StartBytes, SizeBytes: p.SizeBytes}
		if err := (winimage.Image{Path: raw}).CopyPartition(t.Context(), part, to); err != nil {
			t.Fatal(err)
		}
	}
	hives := func(path string) {
		t.Helper()
		tool("hivexml", path)
		tool("reglookup", path)
	}
	for _, p := range r.Partitions {
		part := filepath.Join(dir, fmt.Sprint(p.Number))
		switch {
		case p.Name == "EFI system partition":
			copyPartition(p, part)
			tool("fsck.fat", "-n", part)
			for _, store := range []string{"Boot", "Recovery"} {
				bcd := filepath.Join(dir, "BCD-"+store)
				tool("mcopy", "-i", part, "::/EFI/Microsoft/"+store+"/BCD", bcd)
				hives(bcd)
			}
		case p.Windows:
			copyPartition(p, part)
			tool("ntfs-3g.probe", "--readwrite", part)
			tool("ntfsresize", "--info", "--no-progress-bar", part)
			system := filepath.Join(dir, "SYSTEM")
			out, err := exec.CommandContext(t.Context(), "ntfscat", part, "/Windows/System32/config/SYSTEM").Output()
			if err == nil {
				err = os.WriteFile(system, out, 0o600)
			}
			if err != nil {
				t.Errorf("ntfscat: %v", err)
				continue
			}
			hives(system)
		}
	}
}
