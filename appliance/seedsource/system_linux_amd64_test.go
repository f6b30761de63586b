package seedsource

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/vmw-guestinfo/bdoor"
	"github.com/vmware/vmw-guestinfo/vmcheck"
)

// A port that is closed to us faults; the test itself would end with it.
func TestBackdoorFaults(t *testing.T) {
	if vmcheck.IsVirtualCPU() {
		t.Log("on VMware itself the port is open")
		return
	}
	var version uint32
	err := guarded(func() error {
		knock := &bdoor.BackdoorProto{}
		knock.CX.AsUInt32().SetWord(bdoor.CommandGetVersion)
		version = knock.InOut().AX.AsUInt32().Word()
		return nil
	})
	if err == nil && version != 0 && version != 0xffffffff {
		t.Logf("some hypervisors have the backdoor of another: version %d", version)
	} else if err != nil && !strings.Contains(err.Error(), "faults") {
		t.Error(err)
	}
	if _, err := backdoor("guestinfo.imageport-ce"); err == nil || !strings.Contains(err.Error(), "no VMware backdoor") {
		t.Errorf("guestinfo says %v", err)
	}
}

func TestGuarded(t *testing.T) {
	want := errors.New("what it says")
	if err := guarded(func() error { return want }); err != want {
		t.Error(err)
	}
	if err := guarded(func() error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestMountRefused(t *testing.T) {
	text := filepath.Join(t.TempDir(), "sr0")
	if err := os.WriteFile(text, []byte("no device"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, device := range []string{text, text + "0"} {
		v, err := mount(device)
		if err == nil {
			v.Close()
			t.Fatalf("%s is mounted", device)
		}
		for _, format := range discFormats {
			if !strings.Contains(err.Error(), format+": ") {
				t.Errorf("%v does not say what came of %s", err, format)
			}
		}
	}
}

func TestSystem(t *testing.T) {
	env := System()
	if _, err := fs.Stat(os.DirFS(env.Sys), "kernel"); err != nil {
		t.Error(err)
	}
	if env.HTTP == nil || env.Mount == nil || env.GuestInfo == nil || env.Metadata == "" || env.Dev == "" {
		t.Errorf("it is not whole: %+v", env)
	}
}
