package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/job"
	"imageport/starter"
	"imageport/starter/startertest"
)

// Flags make the same body as a file has, and --print shows it.
func TestBodyOfFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "body.json")
	if err := os.WriteFile(file, []byte("\ufeff"+`{"Platform":"vSphere","inputImageFilename":"old","INPUTSTORAGELOCATION":{"Host":"a","location":"x"},"outputSizeMb":65536}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		want string
		says string // of what is wrong with the body
	}{
		"all by flags": {
			[]string{"convert-to-uefi", "--image", `\\files\pvs\store\win10.vhd`, "--output-image", "new", "--credential", "smb", "--platform", "local", "--resource-location", "lab", "--dry-run", "--verify", "boot"},
			`{"dryRun":true,"inputImageFilename":"win10.vhd","inputImageFormat":"VhdDiskFormat","inputStorageLocation":{"credentialId":"smb","host":"files","sharePath":"pvs/store"},"outputImageFilename":"new","platform":"local","resourceLocationId":"lab","verify":"boot"}`, "",
		},
		"a URL with a port, a disk": {
			[]string{"reverse-image", "--image", "smb://files:1445/pvs/win10.vhdx", "--output-disk", "disk", "--create-vm", "--set", "provisionType=Thin", "--set", `vmName="7"`, "--set", "outputSizeMb=100", "--set", "gcpZones=[\"a\",\"b\"]"},
			`{"createVm":true,"gcpZones":["a","b"],"inputImageFilename":"win10.vhdx","inputImageFormat":"VhdxDiskFormat","inputStorageLocation":{"host":"files","port":1445,"sharePath":"pvs"},"outputDiskName":"disk","outputSizeMb":100,"provisionType":"Thin","vmName":"7"}`,
			"platform is missing",
		},
		"a file, changed": {
			[]string{"upgrade-pvs", "-f", file, "--platform", "local", "--image", "//files/pvs/win11", "--install-pvs", "2311", "--force", "--set", "upgradeOptions.TIMEOUTminutes=30", "--format", "VHD", "--dry-run=false"},
			`{"INPUTSTORAGELOCATION":{"Host":"files","sharePath":"pvs"},"Platform":"local","dryRun":false,"inputImageFilename":"win11","inputImageFormat":"VhdDiskFormat","outputSizeMb":65536,"upgradeOptions":{"TIMEOUTminutes":30,"force":true,"installPvs":"2311"}}`,
			"outputImageFilename is missing",
		},
		"a file as it is": {
			[]string{"convert-to-uefi", "-f", file}, `{"Platform":"vSphere","inputImageFilename":"old","INPUTSTORAGELOCATION":{"Host":"a","location":"x"},"outputSizeMb":65536}`, "outputImageFilename is missing",
		},
		"only a name":        {[]string{"convert-to-uefi", "--image", "win10"}, `{"inputImageFilename":"win10"}`, "platform is missing"},
		"a set without key":  {[]string{"convert-to-uefi", "--set", "=x"}, "", `--set "=x" names no key`},
		"an odd key":         {[]string{"convert-to-uefi", "--set", "a..b=x"}, "", `names no key`},
		"an image of a user": {[]string{"convert-to-uefi", "--image", "smb://bob@files/pvs/x.vhdx"}, "", "names a user"},
		"a folder":           {[]string{"convert-to-uefi", "--image", `\\files\pvs\`}, "", "names no file"},
		"an odd format":      {[]string{"convert-to-uefi", "--format", "qcow2"}, "", `"qcow2" for "--format" flag: it is none of vhdx, vhd`},
		"no object":          {[]string{"convert-to-uefi", "-f", "/dev/null", "--dry-run"}, "", "/dev/null is not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			r := call(t.Context(), "", append(append([]string{"start"}, tc.args...), "--print")...)
			var got, want any
			if tc.want != "" {
				if err := json.Unmarshal([]byte(strings.TrimPrefix(r.out, "\ufeff")), &got); err != nil {
					t.Fatalf("%v in %+v", err, r)
				}
				if err := json.Unmarshal([]byte(tc.want), &want); err != nil {
					t.Fatal(err)
				}
				gotText, _ := json.Marshal(got)
				wantText, _ := json.Marshal(want)
				if string(gotText) != string(wantText) {
					t.Errorf("got  %s\nwant %s", gotText, wantText)
				}
			} else if r.out != "" {
				t.Errorf("%+v", r)
			}
			if (r.code == exitOK) != (tc.says == "") || !strings.Contains(r.err, tc.says) {
				t.Errorf("%+v; want %q", r, tc.says)
			}
		})
	}
}

func TestStartByFlags(t *testing.T) {
	s := newSite(t)
	r := s.call("start", "convert-to-uefi", "--image", `\\Files.example.com\PVS\Store\`+s.image+".vhdx", "--output-image", startertest.Completes, "--credential", "files",
		"--platform", "local", "--resource-location", s.queue, "--wait", "-o", "json")
	if got := decode[job.Status](t, r); r.code != exitOK || got.State != job.StateCompleted {
		t.Errorf("%+v", r)
	}
	// The body of the file goes on as it is, with its own spelling.
	r = s.call("start", "convert-to-uefi", "-f", s.body(startertest.Completes), "--set", "colour=1", "-o", "json")
	if got := decode[starter.Started](t, r); r.code != exitOK || len(got.Warnings) != 1 || !strings.Contains(r.err, `unknown key "colour" was ignored`) {
		t.Errorf("%+v", r)
	}
}

func TestCompletionOfFlags(t *testing.T) {
	dir := t.TempDir()
	catalogue := `{"installers":[{"product":"pvs-target","version":"2311","arch":"x64","file":"a.exe","sha256":"` + strings.Repeat("ab", 32) + `","productVersion":"7.41.100.62"}]}`
	if err := os.WriteFile(filepath.Join(dir, "catalogue.json"), []byte(catalogue), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(cfg, []byte("[catalogue]\ndir = '"+dir+"'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"jobs", "list", "--operation", ""}, "upgradePvs\n"},
		{[]string{"jobs", "list", "--phase", ""}, "tearDown\n"},
		{[]string{"jobs", "list", "--state", ""}, "failed\n"},
		{[]string{"jobs", "logs", "x", "--source", ""}, "guest\n"},
		{[]string{"start", "convert-to-uefi", "--platform", ""}, "XenServer\n"},
		{[]string{"start", "upgrade-pvs", "--config", cfg, "--install-pvs", ""}, "2311\t7.41.100.62\n"},
	} {
		if r := call(t.Context(), "", append([]string{"__complete"}, tc.args...)...); !strings.Contains(r.out, tc.want) {
			t.Errorf("%v: %+v", tc.args, r)
		}
	}
}
