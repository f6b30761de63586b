package gcp

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"imageport/lab/gce"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

const (
	permissionsFile = "../../docs/gcp-permissions.md"
	tableBegin      = "<!-- table of platforms/gcp/permissions.go -->\n"
	tableEnd        = "<!-- end of the table -->\n"
)

func TestPermissionsDocumented(t *testing.T) {
	b, err := os.ReadFile(permissionsFile)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(b), tableBegin)
	got, _, ok2 := strings.Cut(after, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q and %q", permissionsFile, tableBegin, tableEnd)
	}
	var want strings.Builder
	want.WriteString("| on | permission | for | why |\n|---|---|---|---|\n")
	for _, p := range permissions {
		fmt.Fprintf(&want, "| %s | `%s` | %s | %s |\n", p.on, p.id, p.use, p.why)
	}
	if got != want.String() {
		t.Errorf("%s differs from the table in permissions.go; want between the marks:\n%s", permissionsFile, &want)
	}
	for file, places := range map[string][]grantedOn{"../../docs/gcp-role.yaml": {onProject, onSubnet}, "../../docs/gcp-bucket-role.yaml": {onBucket}} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, list, ok := strings.Cut(string(b), "includedPermissions:\n")
		var want []string
		for _, p := range permissions {
			if line := "- " + p.id + "\n"; slices.Contains(places, p.on) && !slices.Contains(want, line) {
				want = append(want, line)
			}
		}
		slices.Sort(want)
		if !ok || !strings.HasPrefix(head, "title: ") || list != strings.Join(want, "") {
			t.Errorf("%s differs from the table in permissions.go; want the permissions\n%s", file, strings.Join(want, ""))
		}
	}
}

// withImage makes the platform start CEs from an image that is there.
func (h *simHarness) withImage(t testing.TB, path string) Config {
	t.Helper()
	if len(h.cloud.Images()) == 0 {
		if err := h.cloud.MakeImage("ce-1", "ce", h.cfg.Appliance); err != nil {
			t.Fatal(err)
		}
	}
	cfg := h.cfg
	cfg.Appliance, cfg.Bucket, cfg.Image = "", "", path
	return cfg
}

// Each permission is missed, and named, by the check of what needs it.
func TestPermissionsMissing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	image := h.withImage(t, "projects/imageport-lab/global/images/ce-1")
	for _, p := range permissions {
		cfg, verb := h.cfg, platformtest.Check
		switch p.use {
		case forImage:
			cfg = image
			if p.id == "compute.images.get" {
				cfg.Image = "projects/imageport-lab/global/images/family/ce"
			}
		case forOutputDisk:
			verb = platformtest.CheckDisk
		}
		h.cloud.Deny(p.id)
		err := platformtest.NewCall(h, verb).Do(t.Context(), h.open(t, cfg, h.where))
		h.cloud.Allow(p.id)
		if platforms.KindOf(err) != platforms.Denied || !strings.Contains(err.Error(), p.id) {
			t.Errorf("%s without %s on the %s: %v", verb, p.id, p.on, err)
		}
	}
	h.cloud.Deny("compute.instances.stop", "compute.subnetworks.use", "storage.objects.create")
	err := platformtest.NewCall(h, platformtest.Check).Do(t.Context(), h.Open(t))
	for _, part := range []string{
		"on the project imageport-lab: compute.instances.stop", "regions/lab-north1/subnetworks/default: compute.subnetworks.use", "on the bucket imageport-lab: storage.objects.create",
	} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v lacks %q", err, part)
		}
	}
	h.cloud.Allow("compute.instances.stop", "compute.subnetworks.use", "storage.objects.create")
	platformtest.Do(t, h, platformtest.Check, platformtest.CheckDisk)
	h.cloud.Inject("cloudresourcemanager.projects.testIamPermissions", gce.Fault{Status: 403, Reason: "accessNotConfigured", Message: "has not been used"}, 1)
	platformtest.Do(t, h, platformtest.Check)
}

func TestPermissionsAreOrdered(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range permissions {
		key := fmt.Sprint(p.on, p.use, p.id)
		if seen[key] || p.why == "" {
			t.Errorf("%+v", p)
		}
		seen[key] = true
	}
}

// With the permissions of the table, and no other that the simulator knows, a whole
// job succeeds.
func TestPermissionsSuffice(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var others []string
	for _, id := range gce.Permissions() {
		if !slices.ContainsFunc(permissions, func(p struct {
			on  grantedOn
			use purpose
			id  string
			why string
		}) bool {
			return p.id == id && p.use != forImage
		}) {
			others = append(others, id)
		}
	}
	if len(others) < 10 {
		t.Fatalf("only %d other permissions", len(others))
	}
	h.cloud.Deny(others...)
	platformtest.Do(t, h,
		platformtest.Check, platformtest.CheckDisk, platformtest.Create, platformtest.Find, platformtest.AddDisk, platformtest.Stop,
		platformtest.Restart, platformtest.AddDisk, platformtest.KeepDisk, platformtest.Destroy, platformtest.List,
	)
}

// A call that is refused names the permission.
func TestPermissionOfCall(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.cloud.Deny("compute.instances.setTags")
	if _, err := h.Open(t).Create(t.Context(), platformtest.NewSpec()); platforms.KindOf(err) != platforms.Denied || !strings.Contains(err.Error(), "Required 'compute.instances.setTags' permission") {
		t.Errorf("%v", err)
	}
}
