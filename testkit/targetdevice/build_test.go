package targetdevice

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The pattern that the engine knows the product by, and the numbers of both
// resources and package, as other programs read them.
func TestBuild(t *testing.T) {
	codes := map[string]string{} // UpgradeCode, and versions by ProductCode
	for _, version := range []string{Version733, Version740} {
		installer := Build(t, version, Works)
		if again := Build(t, version, Works); again != installer || filepath.Base(installer) != "PVS_Device_x64.exe" {
			t.Errorf("%s, then %s", installer, again)
		}
		if said := output(t, "7zz", "l", "-tPE", installer); !strings.Contains(said, "ProductVersion: "+version) ||
			!strings.Contains(said, "not Citrix software") || !strings.Contains(said, "CPU = x64") {
			t.Errorf("%s\n%s", installer, said)
		}
		dir := t.TempDir()
		output(t, "7zz", "e", "-tNSIS", "-o"+dir, installer)
		properties := map[string]string{}
		for line := range strings.Lines(output(t, "msiinfo", "export", filepath.Join(dir, "device.msi"), "Property")) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "\t")
			properties[name] = value
		}
		if properties["ProductVersion"] != version || properties["ProductName"] != DisplayName {
			t.Errorf("properties %q", properties)
		}
		codes["upgrade "+properties["UpgradeCode"]] = ""
		codes["product "+properties["ProductCode"]] = version
		output(t, "msiextract", "-C", dir, filepath.Join(dir, "device.msi"))
		files := 0
		if err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err == nil && (strings.HasSuffix(path, ".sys") || strings.HasSuffix(path, "BNDevice.exe")) {
				files++
				if said := output(t, "7zz", "l", "-tPE", path); !strings.Contains(said, "FileVersion: "+version) {
					t.Errorf("%s\n%s", path, said)
				}
			}
			return err
		}); err != nil || files != 4 {
			t.Errorf("%d files in the package, %v", files, err)
		}
	}
	if len(codes) != 3 {
		t.Errorf("codes %q", codes)
	}
	if !regexp.MustCompile(`^Citrix Provisioning( Services)? Target Device`).MatchString(DisplayName) {
		t.Errorf("the name %q is not the product's", DisplayName)
	}
}

func TestKinds(t *testing.T) {
	paths := map[string]bool{}
	for _, kind := range Kinds {
		paths[Build(t, Version740, kind)] = true
	}
	if len(paths) != len(Kinds) {
		t.Errorf("%d kinds are %v", len(Kinds), paths)
	}
	for _, version := range []string{"", "7.40", "7.40.0.x y"} {
		if path, err := Make(t.Context(), version, Works); err == nil {
			t.Errorf("version %q: %s", version, path)
		}
	}
}

func output(t *testing.T, tool string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return string(out)
}
