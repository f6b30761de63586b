package vsphere

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
	"imageport/platforms/platformtest"
)

const (
	privilegesFile = "../../docs/vsphere-privileges.md"
	tableBegin     = "<!-- table of platforms/vsphere/privileges.go -->\n"
	tableEnd       = "<!-- end of the table -->\n"
)

func TestPrivilegesDocumented(t *testing.T) {
	b, err := os.ReadFile(privilegesFile)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(b), tableBegin)
	got, _, ok2 := strings.Cut(after, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q and %q", privilegesFile, tableBegin, tableEnd)
	}
	if want := privilegeTable(); got != want {
		t.Errorf("%s differs from the table in privileges.go; want between the marks:\n%s", privilegesFile, want)
	}
}

func privilegeTable() string {
	var b strings.Builder
	b.WriteString("| on | privilege | for | why |\n|---|---|---|---|\n")
	for _, p := range privileges {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", p.on, p.id, p.use, p.why)
	}
	return b.String()
}

// Each privilege is missed, and named, by the check of what needs it.
func TestPrivilegesMissing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Do(t, h, platformtest.Destroy)
	template := h.config()
	template.Appliance, template.Template = "", h.allVMs(t)[0].name
	for _, p := range privileges {
		cfg, verb := h.config(), platformtest.Check
		where := h.where
		switch p.use {
		case forTemplate:
			cfg = template
		case forOutputDisk:
			verb = platformtest.CheckDisk
		case forOutputVM:
			verb = platformtest.CheckVM
		case forGuest:
			verb = platformtest.CheckGuest
		}
		h.setTopDirectories(p.on != onVSAN)
		if p.on == onNewFolder {
			h.renameFolder(t, ownFolder, "old")
		}
		h.lab.Revoke(p.id)
		err := platformtest.NewCall(h, verb).Do(t.Context(), h.open(t, cfg, where))
		h.lab.Grant(p.id)
		if p.on == onNewFolder {
			h.renameFolder(t, "old", ownFolder)
		}
		if platforms.KindOf(err) != platforms.Denied || !strings.Contains(err.Error(), p.id) || !strings.Contains(err.Error(), h.username) {
			t.Errorf("%s without %s on the %s: %v", verb, p.id, p.on, err)
		}
	}
	h.setTopDirectories(true)
	platformtest.Do(t, h, platformtest.Check, platformtest.CheckDisk, platformtest.CheckVM, platformtest.CheckGuest)
}

func (v *center) setTopDirectories(yes bool) {
	m := v.lab.Model()
	for _, e := range m.Map().All("Datastore") {
		ds := e.(*simulator.Datastore)
		m.Map().WithLock(&simulator.Context{Map: m.Map()}, ds, func() { ds.Capability.TopLevelDirectoryCreateSupported = types.NewBool(yes) })
	}
}

func (h *simHarness) renameFolder(t testing.TB, from, to string) {
	t.Helper()
	d := h.eye()
	ref, err := d.child(t.Context(), d.known.Load().vmFolder.ref, from)
	if err != nil || ref == nil {
		t.Fatalf("folder %s: %v", from, err)
	}
	task, err := object.NewFolder(d.client, *ref).Rename(t.Context(), to)
	if err == nil {
		_, err = d.follow(t.Context(), task)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestPrivilegesAreOrdered(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range privileges {
		key := fmt.Sprint(p.on, p.use, p.id)
		if seen[key] {
			t.Errorf("%s twice", key)
		}
		seen[key] = true
		if p.why == "" || !slices.Contains([]purpose{forCE, forImport, forTemplate, forOutputDisk, forOutputVM, forGuest}, p.use) {
			t.Errorf("%+v", p)
		}
	}
}

// With the privileges of the table, and no other that the simulator knows, a
// whole job succeeds.
func TestPrivilegesSuffice(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var others []string
	for _, e := range h.lab.Model().Map().AllReference("AuthorizationManager") {
		if m, ok := e.(*simulator.AuthorizationManager); ok {
			for _, id := range object.AuthorizationRoleList(m.RoleList).ByName("Admin").Privilege {
				needed := strings.HasPrefix(id, "System.")
				for _, p := range privileges {
					needed = needed || p.id == id && p.use != forTemplate
				}
				if !needed {
					others = append(others, id)
				}
			}
		}
	}
	if len(others) < 100 {
		t.Fatalf("only %d other privileges", len(others))
	}
	h.lab.Revoke(others...)
	platformtest.Do(t, h,
		platformtest.Check, platformtest.CheckDisk, platformtest.CheckVM, platformtest.Create, platformtest.Find, platformtest.AddDisk, platformtest.Stop,
		platformtest.CheckGuest, platformtest.StartGuest, platformtest.FindGuest, platformtest.GuestScreen, platformtest.StopGuest, platformtest.RemoveGuest,
		platformtest.Create, platformtest.AddDisk, platformtest.KeepDisk, platformtest.MakeVM, platformtest.Destroy, platformtest.List,
	)
}

// The script that makes the role has the privileges of the table, each once.
func TestRoleScript(t *testing.T) {
	const script = "../../docs/vsphere-role.sh"
	b, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "privileges=(\n")
	list, _, _ := strings.Cut(after, ")")
	var want []string
	for _, p := range privileges {
		want = append(want, p.id)
	}
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(strings.Fields(list), want) {
		t.Errorf("%s has\n%s\nwant\n%s", script, list, strings.Join(want, "\n"))
	}
	if out, err := exec.CommandContext(t.Context(), "bash", "-n", script).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
