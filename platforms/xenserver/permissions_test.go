package xenserver

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	labxapi "imageport/lab/xapi"
	"imageport/platforms"
	"imageport/platforms/platformtest"
	"imageport/platforms/xenserver/xapi"
)

const (
	roleFile   = "../../docs/xenserver-role.md"
	tableBegin = "<!-- table of platforms/xenserver/permissions.go -->\n"
	tableEnd   = "<!-- end of the table -->\n"
)

func TestPermissionsDocumented(t *testing.T) {
	b, err := os.ReadFile(roleFile)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(b), tableBegin)
	got, _, ok2 := strings.Cut(after, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q and %q", roleFile, tableBegin, tableEnd)
	}
	if want := permissionTable(); got != want {
		t.Errorf("%s differs from the table in permissions.go; want between the marks:\n%s", roleFile, want)
	}
}

func permissionTable() string {
	var b strings.Builder
	b.WriteString("| permission | least role | for | why |\n|---|---|---|---|\n")
	for _, p := range permissions {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", p.name, p.role, p.use, p.why)
	}
	return b.String()
}

// methodNamed gives the method that a permission is for, as the pool spells it.
func methodNamed(t *testing.T, calls []string, permission string) string {
	t.Helper()
	for _, method := range calls {
		if strings.EqualFold(method, permission) {
			return method
		}
	}
	t.Fatalf("no verb calls what %s is for", permission)
	return ""
}

// The table is what the verbs call that changes something, no more and no less; each
// permission is missed, and named, by the check of what needs it; and the role that
// the documentation names suffices.
func TestPermissions(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.lab.SetRole("vm-admin")
	var calls []string
	h.lab.Hook(func(c labxapi.Call) bool {
		method := strings.TrimPrefix(c.Method, "Async.")
		if xapi.Changes(c.Method) && !strings.HasPrefix(method, "task.") && !slices.Contains(calls, method) {
			calls = append(calls, method)
		}
		return true
	})
	platformtest.Do(t, h,
		platformtest.Check, platformtest.CheckDisk, platformtest.Create, platformtest.Find, platformtest.AddDisk, platformtest.Stop,
	)
	again := platformtest.NewCall(h, platformtest.Create)
	again.CE.Seed.Gateway.Token = "another"
	if err := again.Do(t.Context(), h.Open(t)); err != nil {
		t.Fatal(err)
	}
	platformtest.Do(t, h, platformtest.AddDisk, platformtest.Stop, platformtest.CheckGuest)
	h.lab.Inject("VM.start", 1, "HOST_NOT_ENOUGH_FREE_MEMORY", "1", "0")
	if err := platformtest.NewCall(h, platformtest.StartGuest).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Full {
		t.Fatal(err)
	}
	platformtest.Do(t, h,
		platformtest.StartGuest, platformtest.FindGuest, platformtest.GuestScreen, platformtest.StopGuest, platformtest.RemoveGuest,
		platformtest.Create, platformtest.AddDisk, platformtest.KeepDisk, platformtest.Destroy, platformtest.List,
	)
	h.lab.Hook(nil)
	calls = slices.DeleteFunc(calls, func(m string) bool { return m == "import_raw_vdi" })
	for _, method := range calls {
		listed := false
		for _, p := range permissions {
			listed = listed || strings.EqualFold(p.name, method)
		}
		if !listed {
			t.Errorf("%s is called, and not in the table", method)
		}
	}
	for _, p := range permissions {
		if strings.HasPrefix(p.name, httpPermission) {
			continue
		}
		verb := map[purpose]platformtest.Verb{
			forCE: platformtest.Check, forOutputDisk: platformtest.CheckDisk, forGuest: platformtest.CheckGuest,
		}[p.use]
		method := methodNamed(t, calls, p.name)
		h.lab.Revoke(method)
		err := platformtest.NewCall(h, verb).Do(t.Context(), h.Open(t))
		h.lab.Grant(method)
		if platforms.KindOf(err) != platforms.Denied || !strings.Contains(err.Error(), p.name) || !strings.Contains(err.Error(), h.username) {
			t.Errorf("%s without %s: %v", verb, p.name, err)
		}
	}
	for role, ok := range map[string]bool{"read-only": false, "vm-operator": false, "vm-admin": true, "pool-admin": true} {
		h.lab.SetRole(role)
		h.lab.EndSessions()
		err := platformtest.NewCall(h, platformtest.Check).Do(t.Context(), h.Open(t))
		if ok != (err == nil) || !ok && platforms.KindOf(err) != platforms.Denied {
			t.Errorf("%s: %v", role, err)
		}
	}
}
