package azure_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imageport/platforms"
	"imageport/platforms/azure"
	"imageport/platforms/platformtest"
)

const (
	permissionsFile = "../../docs/azure-permissions.md"
	roleFile        = "../../docs/azure-role.json"
	tableBegin      = "<!-- table of platforms/azure/actions.go -->\n"
	tableEnd        = "<!-- end of the table -->\n"
)

func TestActionsDocumented(t *testing.T) {
	b, err := os.ReadFile(permissionsFile)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(b), tableBegin)
	got, _, ok2 := strings.Cut(after, tableEnd)
	want := "| on | action | for | why |\n|---|---|---|---|\n"
	ids := make(map[string]bool)
	seen := make(map[azure.Action]bool)
	for _, a := range azure.Actions() {
		want += fmt.Sprintf("| %s | `%s` | %s | %s |\n", a.On, a.ID, a.For, a.Why)
		ids[a.ID] = true
		key := azure.Action{On: a.On, For: a.For, ID: a.ID}
		if seen[key] || a.Why == "" {
			t.Errorf("%+v", a)
		}
		seen[key] = true
	}
	if !ok || !ok2 || got != want {
		t.Errorf("%s differs from the table in actions.go; want between the marks:\n%s", permissionsFile, want)
	}
	if got, want := role(t), slices.Sorted(maps.Keys(ids)); !slices.Equal(got, want) {
		t.Errorf("%s has the actions %q, want %q", roleFile, got, want)
	}
}

// role gives the actions that the role grants.
func role(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(roleFile)
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Name             string
		IsCustom         bool
		Actions          []string
		NotActions       []string
		AssignableScopes []string
	}
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if r.Name == "" || !r.IsCustom || len(r.NotActions) > 0 || len(r.AssignableScopes) != 1 {
		t.Errorf("%s: %+v", roleFile, r)
	}
	return r.Actions
}

// With the actions of the role, and no other, a whole job succeeds.
func TestActionsSuffice(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.cloud.Only(role(t)...)
	platformtest.Do(t, h,
		platformtest.Check, platformtest.CheckDisk, platformtest.Create, platformtest.Find, platformtest.AddDisk, platformtest.Stop,
		platformtest.Create, platformtest.AddDisk, platformtest.KeepDisk, platformtest.Destroy, platformtest.List,
	)
}

// Each action is missed, and named, by the check of what needs it.
func TestActionsMissing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(raw, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	managed, err := h.cloud.AddManagedImage("ce", raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range azure.Actions() {
		cfg, verb := h.config(), platformtest.Check
		switch a.For {
		case "reverseImage":
			verb = platformtest.CheckDisk
		case "managed image":
			cfg.Appliance, cfg.Gallery, cfg.Image = "", "", managed
		}
		h.cloud.Revoke(a.ID)
		err := platformtest.NewCall(h, verb).Do(t.Context(), h.open(t, cfg))
		h.cloud.Heal()
		if a.For == "quota" {
			if err != nil {
				t.Errorf("without %s: %v", a.ID, err)
			}
			continue
		}
		if platforms.KindOf(err) != platforms.Denied || !strings.Contains(err.Error(), a.ID) {
			t.Errorf("%s without %s on the %s: %v", verb, a.ID, a.On, err)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, tc := range []struct {
		pattern, action string
		want            bool
	}{
		{"*", "Microsoft.Compute/disks/read", true}, {"*/read", "Microsoft.Compute/disks/read", true}, {"*/read", "Microsoft.Compute/disks/write", false},
		{"microsoft.compute/DISKS/read", "Microsoft.Compute/disks/read", true}, {"Microsoft.Compute/*", "Microsoft.Compute/disks/read", true},
		{"Microsoft.Compute/*", "Microsoft.Network/x/read", false}, {"Microsoft.Compute/*/read", "Microsoft.Compute/a/b/read", true},
		{"Microsoft.Compute/*/b/*", "Microsoft.Compute/a/b/read", true}, {"Microsoft.Compute/*/b/*", "Microsoft.Compute/a/c/read", false},
		{"Microsoft.Compute/disks/read", "Microsoft.Compute/disks/read/x", false}, {"", "x", false}, {"", "", true}, {"a*a", "a", false},
	} {
		if got := azure.Covers(tc.pattern, tc.action); got != tc.want {
			t.Errorf("%q covers %q: %v", tc.pattern, tc.action, got)
		}
	}
}

func FuzzCovers(f *testing.F) {
	f.Add("a*b", "axb")
	f.Fuzz(func(t *testing.T, pattern, action string) {
		if strings.Contains(pattern, "*") || strings.ToLower(action) != action || strings.ToLower(pattern) != pattern {
			azure.Covers(pattern, action)
			return
		}
		if azure.Covers(pattern, action) != (pattern == action) {
			t.Errorf("%q, %q", pattern, action)
		}
	})
}
