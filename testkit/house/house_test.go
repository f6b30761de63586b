// Package house checks the shape of the code base.
package house

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// floors are the rooms of the architecture by height: a room imports only
// rooms of lower floors, and itself. The longest matching prefix counts.
var floors = map[string]int{
	"job":         0,
	"job/durable": 1,
	"job/seed":    1,

	"engine/disk":                  2,
	"engine/disk/overlay":          3,
	"engine/disk/container":        3,
	"engine/disk/vhdx":             4,
	"engine/disk/vhd":              4,
	"engine/disk/chain":            5,
	"engine/disk/copier":           3,
	"engine/copyfile":              3,
	"engine/disk/gpt":              3,
	"engine/disk/fat32":            3,
	"engine/windows/wof":           2,
	"engine/windows/ntfs":          3,
	"engine/fusefile":              2,
	"engine/program":               2,
	"engine/ntfsresize":            4,
	"engine/windows/hive":          3,
	"engine/windows/bcd":           4,
	"engine/windows/reagent":       3,
	"engine/windows/bootcheck":     4,
	"engine/pvs":                   3,
	"engine/bootproof":             4,
	"engine/windows/bootconv":      5,
	"engine/share":                 5,
	"engine/share/sharetest":       21,
	"engine/source":                7,
	"engine/convert":               9,
	"engine/reverse":               8,
	"engine/windows/nativeboot":    5,
	"engine/diskimage":             6,
	"engine/enrol":                 3,
	"engine/agent":                 10,
	"engine/catalogue":             6,
	"engine/catalogue/peversion":   2,
	"engine/windows/offline":       4,
	"engine/windows/pvstarget":     5,
	"engine/ntfsmount":             4,
	"engine/inject":                5,
	"engine/publish":               8,
	"engine/upgrade":               9,
	"firstboot/plan":               1,
	"firstboot/runner":             2,
	"firstboot/embedded":           2,
	"gateway":                      9,
	"qmp":                          0,
	"platforms":                    5,
	"platforms/cedir":              6,
	"platforms/patience":           1,
	"platforms/appliancefile":      6,
	"platforms/sessions":           6,
	"platforms/screen":             1,
	"platforms/trust":              6,
	"platforms/cedir/cedirtest":    22,
	"platforms/outputdir":          7,
	"platforms/local":              8,
	"platforms/qemu":               8,
	"platforms/vsphere":            7,
	"platforms/xenserver":          7,
	"platforms/xenserver/xapi":     2,
	"platforms/azure":              7,
	"platforms/gcp":                7,
	"lab":                          8,
	"lab/guest":                    2,
	"lab/selfsigned":               0,
	"lab/vcenter":                  6,
	"lab/xapi":                     6,
	"lab/azure":                    8,
	"lab/gce":                      8,
	"platforms/platformtest":       21,
	"platforms/platformtest/table": 2,
	"wallet":                       5,
	"wallet/atomicfile":            2,

	"engine/blockdev":            3,
	"engine/blockdev/uevent":     2,
	"appliance":                  6,
	"appliance/archive":          4,
	"appliance/lock":             3,
	"appliance/initramfs":        3,
	"appliance/deb":              2,
	"appliance/biosboot":         2,
	"appliance/uki":              2,
	"appliance/export":           5,
	"appliance/seedsource":       4,
	"appliance/xenbus":           2,
	"appliance/seedsource/media": 2,
	"appliance/pid1":             5,
	"appliance/pid1/kmod":        3,
	"appliance/pid1/kmsg":        2,
	"appliance/pid1/network":     2,

	"activities":       10,
	"workflows":        11,
	"observe":          9,
	"starter":          12,
	"starter/httpapi":  13,
	"worker":           12,
	"config":           13,
	"worker/installed": 14,
	"cmd":              15,
	"testkit":          20,
	"bench":            22,

	"bench/internal":          21,
	"bench/appliance/reading": 21,
}

// forbidden says what a room must not import, although it lies lower: the
// libraries know no server, and the engine knows no platforms.
var forbidden = map[string][]string{
	"engine/disk":    {"go.temporal.io/", "github.com/cloudsoda/", "github.com/hirochachacha/", "net", "os", "imageport/job"},
	"engine/windows": {"go.temporal.io/", "github.com/cloudsoda/", "github.com/hirochachacha/", "net", "os", "imageport/engine/share"},
	"engine":         {"imageport/platforms", "imageport/wallet", "imageport/activities"},
	"job":            {"imageport/engine", "imageport/platforms", "imageport/wallet"},
	"wallet":         {"imageport/engine", "imageport/platforms"},
	"platforms":      {"imageport/engine", "imageport/wallet"},
	// What runs in a Compositing Engine, and what it must not drag in.
	"cmd/imageport-ce": {"imageport/platforms", "imageport/wallet", "imageport/gateway", "imageport/config", "github.com/spf13/"},
	"gateway":          {"imageport/platforms", "imageport/activities", "imageport/workflows"},
	"starter":          {"imageport/engine", "imageport/platforms", "imageport/wallet", "imageport/activities", "imageport/workflows"},
}

func TestImportDirections(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "imageport/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg, imports := strings.TrimPrefix(words[0], "imageport/"), words[1:]
		from, ok := floor(pkg)
		if !ok {
			t.Errorf("%s has no floor: say in this test where it belongs", pkg)
			continue
		}
		for _, imported := range imports {
			for room, never := range forbidden {
				if inRoom(pkg, room) && slices.ContainsFunc(never, func(n string) bool {
					return imported == n || strings.HasPrefix(imported, n+"/") || strings.HasSuffix(n, "/") && strings.HasPrefix(imported, n)
				}) {
					t.Errorf("%s imports %s: %s must not", pkg, imported, room)
				}
			}
			ours, is := strings.CutPrefix(imported, "imageport/")
			if !is {
				continue
			}
			if to, _ := floor(ours); to >= from && !inRoom(ours, topRoom(pkg)) {
				t.Errorf("%s imports %s, which is not below it", pkg, ours)
			}
		}
	}
}

// floor finds the room of a package by its longest prefix.
func floor(pkg string) (int, bool) {
	for p := pkg; p != ""; p = p[:max(strings.LastIndexByte(p, '/'), 0)] {
		if f, ok := floors[p]; ok {
			return f, true
		}
	}
	return 0, false
}

// topRoom is the room whose packages may import each other freely: only the
// test kit, the program and drivers are that loose.
func topRoom(pkg string) string {
	for _, loose := range []string{"testkit", "cmd", "platforms/local", "engine/share", "engine/disk/fat32"} {
		if inRoom(pkg, loose) {
			return loose
		}
	}
	return pkg
}

func inRoom(pkg, room string) bool { return pkg == room || strings.HasPrefix(pkg, room+"/") }
