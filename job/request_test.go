package job

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// The bodies in testdata are those that the specification prints, byte for byte.
func specification(t *testing.T, op Operation) []byte {
	t.Helper()
	body, err := os.ReadFile("testdata/" + string(op) + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestParseSpecification(t *testing.T) {
	common := Request{
		Target: Target{
			Platform:             "vSphere",
			PlatformCredentialID: "ips-vsphere-login",
			Placement: Placement{
				VSphere: VSphere{VCenterHost: "vcenter-8.megacorp.cust", Datacenter: "datacenter1", Datastore: "Datastore1", Cluster: "citrix"},
				Network: "pvs-management",
			},
		},
		ResourceLocationID:   "25b561b8-06b0-45bf-83b4-86ac84598443",
		InputStorageLocation: StorageLocation{Type: "SMB", CredentialID: "pvs-smb", Host: "pvs-store.file.core.windows.net", SharePath: "disks"},
		InputImageFilename:   "win10",
		InputImageFormat:     FormatVHDX,
	}
	withSubscription := common
	withSubscription.SubscriptionID = "ecaecd6d-3c8a-4aef-82c5-37bcd2128272"

	t.Run("reverseImage", func(t *testing.T) {
		got, warnings, err := Parse[ReverseImage](specification(t, OpReverseImage))
		want := ReverseImage{Request: withSubscription, OutputDiskName: "[Datastore1] images/reversed-win10.vmdk", OutputSizeMB: 32768, ProvisionType: "Thin"}
		check(t, got, want, warnings, err)
	})
	t.Run("convertToUefi", func(t *testing.T) {
		got, warnings, err := Parse[ConvertToUEFI](specification(t, OpConvertToUEFI))
		check(t, got, ConvertToUEFI{Request: common, OutputImageFilename: "win10-converted"}, warnings, err)
		if got.InputFile() != "win10.vhdx" || got.OutputFile() != "win10-converted.avhdx" {
			t.Errorf("files %q and %q", got.InputFile(), got.OutputFile())
		}
		id, err := got.WorkflowID()
		if want := "ips/pvs-store.file.core.windows.net/disks/win10.vhdx"; err != nil || id != want {
			t.Errorf("workflow id %q, %v; want %q", id, err, want)
		}
	})
	t.Run("upgradePvs", func(t *testing.T) {
		got, warnings, err := Parse[UpgradePVS](specification(t, OpUpgradePVS))
		want := UpgradePVS{Request: withSubscription, OutputImageFilename: "win10-with-upgraded-pvs", OutputSizeMB: 71680, UpgradeOptions: UpgradeOptions{InstallPVS: "2311"}}
		check(t, got, want, warnings, err)
		if got.OutputFile() != "win10-with-upgraded-pvs.vhdx" {
			t.Errorf("output file %q", got.OutputFile())
		}
	})
}

func check[R any](t *testing.T, got, want R, warnings []string, err error) {
	t.Helper()
	if err != nil || len(warnings) > 0 {
		t.Fatalf("warnings %q, error %v", warnings, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// local is a valid body to vary.
const local = `{"platform":"local","resourceLocationId":"lab","inputStorageLocation":{"credentialId":"smb","host":"h","sharePath":"disks"},"inputImageFilename":"win10","outputImageFilename":"out"}`

func TestParseIsLenient(t *testing.T) {
	upgrade := func(size string) string {
		return strings.Replace(local, `"platform"`, `"upgradeOptions":{"installPvs":"2402"},`+size+`"platform"`, 1)
	}
	for _, c := range []struct {
		name, body string
		size       SizeMB
		warnings   []string
	}{
		{"size absent", upgrade(""), 0, nil},
		{"size null", upgrade(`"outputSizeMb":null,`), 0, nil},
		{"size a string", upgrade(`"outputSizeMb":"71680",`), 71680, nil},
		{"size a number", upgrade(`"outputSizeMb":71680,`), 71680, nil},
		{"size an empty string", upgrade(`"outputSizeMb":"",`), 0, nil},
		{"other case", strings.NewReplacer("platform", "PLATFORM", "sharePath", "SharePath", "inputImageFilename", "InputImageFileName").Replace(upgrade("")), 0, nil},
		{"byte order mark", "\ufeff" + upgrade(""), 0, nil},
		{"unknown keys", strings.Replace(upgrade(`"color":1,`), `"host"`, `"colour":{"a":1},"host"`, 1), 0,
			[]string{`unknown key "color" was ignored`, `unknown key "inputStorageLocation.colour" was ignored`}},
		{"another platform's key", upgrade(`"vCenterHost":"v","subscriptionId":"s",`), 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, warnings, err := Parse[UpgradePVS]([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if got.OutputSizeMB != c.size || !reflect.DeepEqual(warnings, c.warnings) {
				t.Errorf("size %d, warnings %q; want %d, %q", got.OutputSizeMB, warnings, c.size, c.warnings)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"no body", local, "", "empty"},
		{"broken JSON", `"platform":`, `"platform"`, "line 1, column 12"},
		{"no object", local, `["platform"]`, "it is a JSON array, not an object"},
		{"UTF-16", local, "\xff\xfe{\x00", "UTF-16"},
		{"port in host", `"host":"h"`, `"host":"h:1445"`, "a port goes into port"},
		{"null", local, `null`, "not a JSON object"},
		{"wrong type", `"lab"`, `7`, "resourceLocationId is a JSON number, not a string"},
		{"size out of bounds", `"lab"`, `"lab","outputSizeMb":"12 GB"`, "not a size in MB"},
		{"platform missing", `"local"`, `""`, "platform is missing"},
		{"resource location not ASCII", `"lab"`, `"läb"`, "task queue"},
		{"credential missing", `"smb"`, `" "`, "inputStorageLocation.credentialId is missing"},
		{"not SMB", `"credentialId"`, `"type":"NFS","credentialId"`, `"NFS" is not SMB`},
		{"host missing", `"host":"h",`, ``, "host is missing"},
		{"share missing", `"disks"`, `"/"`, "sharePath is missing"},
		{"share climbs", `"disks"`, `"disks/../other"`, `".." is not the name`},
		{"share stream", `"disks"`, `"disks/a:b"`, `"a:b" is not the name`},
		{"both locations", `"host":"h"`, `"location":"smb://h/disks","host":"h"`, "either location, or host and sharePath"},
		{"user in location", `"host":"h","sharePath":"disks"`, `"location":"smb://u:p@h/disks"`, "wallet"},
		{"bad port", `"host":"h"`, `"port":70000,"host":"h"`, "port 70000"},
		{"format", `"inputImageFilename"`, `"inputImageFormat":"Vmdk","inputImageFilename"`, `"Vmdk"`},
		{"input path", `"win10"`, `"dir\\win10"`, `holds "\\"`},
		{"input stream", `"win10"`, `"win10:x"`, `holds ":"`},
		{"input dots", `"win10"`, `".."`, "not a file name on Windows"},
		{"output missing", `"outputImageFilename":"out"`, `"x":1`, "outputImageFilename is missing"},
		{"output is input", `"out"`, `"WIN10.vhdx"`, "the input image itself"},
		{"output of another format", `"out"`, `"out.vhd"`, "ends with .vhd"},
		{"fragment in location", `"host":"h","sharePath":"disks"`, `"location":"smb://h/disks/VDisks#1"`, "mean something else in a URL"},
		{"vSphere placement", `"local"`, `"vSphere"`, "vCenterHost is missing; datacenter is missing; datastore is missing; network is missing; give exactly one of cluster and hostSystem"},
		{"xen placement", `"local"`, `"xen"`, "storageRepositoryUuid is missing"},
		{"azure placement", `"local"`, `"Azure"`, "azureRegion is missing"},
		{"CE's address", `"platform":"local"`, `"platform":"qemu","ceNetwork":{"address":"192.0.2.7"}`, `ceNetwork: address "192.0.2.7": want one such as 192.0.2.7/24`},
		{"CE's router", `"platform":"local"`, `"platform":"qemu","ceNetwork":{"address":"192.0.2.7/24","router":"up"}`, `router "up" is no IP address`},
		{"CE's DNS", `"platform":"local"`, `"platform":"qemu","ceNetwork":{"address":"192.0.2.7/24","dns":["d"]}`, `name server "d" is no IP address`},
		{"gcp placement", `"local"`, `"gcp"`, "gcpZone is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := strings.Replace(local, c.old, c.new, 1)
			if body == local {
				t.Fatal("the case changes nothing")
			}
			if c.name == "size out of bounds" {
				_, _, err := Parse[UpgradePVS]([]byte(body))
				wantRefusal(t, err, c.want)
				return
			}
			_, _, err := Parse[ConvertToUEFI]([]byte(body))
			wantRefusal(t, err, c.want)
		})
	}
}

func wantRefusal(t *testing.T, err error, text string) {
	t.Helper()
	if CodeOf(err) != BadRequest || !strings.Contains(err.Error(), text) {
		t.Errorf("got code %q, %v; want %s with %q", CodeOf(err), err, BadRequest, text)
	}
}

func TestFolder(t *testing.T) {
	want := Folder{Host: "h.example", Port: 445, Share: "disks", Path: "win/10"}
	for _, l := range []StorageLocation{
		{Host: "h.example", SharePath: "disks/win/10"},
		{Host: "h.example", SharePath: `disks\win\10`},
		{Host: "h.example", SharePath: `/disks/win/10/`},
		{Location: `\\h.example\disks\win\10`},
		{Location: `//h.example/disks/win/10`},
		{Location: `smb://h.example/disks/win/10`},
		{Location: `SMB://h.example:445/disks/win/10/`},
	} {
		if got, err := l.Folder(); err != nil || got != want {
			t.Errorf("%+v: got %+v, %v", l, got, err)
		}
	}
	if got := want.UNC("a.vhdx"); got != `\\h.example\disks\win\10\a.vhdx` {
		t.Errorf("UNC %s", got)
	}
	for _, l := range []StorageLocation{{Location: "disks"}, {Location: "smb://h"}, {Location: `\\`}, {Location: "smb://h:x/disks"}, {Host: "a b", SharePath: "d"}} {
		if got, err := l.Folder(); err == nil {
			t.Errorf("%+v: got %+v, no error", l, got)
		}
	}
}

// The workflow id is the lock of the image: every spelling of it is one lock.
func TestWorkflowIDIsCanonical(t *testing.T) {
	ids := make(map[string]bool)
	for _, change := range []func(*Request){
		func(*Request) {},
		func(r *Request) { r.InputImageFilename = "WIN10.VHDX" },
		func(r *Request) { r.InputStorageLocation.Host = "H" },
		func(r *Request) { r.InputStorageLocation.Port = 445 },
		func(r *Request) { r.InputStorageLocation.SharePath = `\Disks\` },
		func(r *Request) {
			r.InputStorageLocation = StorageLocation{Location: `\\h\disks`, CredentialID: "other"}
		},
	} {
		req, _, err := Parse[ConvertToUEFI]([]byte(local))
		if err != nil {
			t.Fatal(err)
		}
		change(&req.Request)
		id, err := req.WorkflowID()
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	if len(ids) != 1 {
		t.Errorf("one image has the ids %v", ids)
	}
}

// Temporal carries ids in headers that take printable ASCII only.
func TestWorkflowIDIsPrintable(t *testing.T) {
	req, _, err := Parse[ConvertToUEFI]([]byte(strings.Replace(local, `"win10"`, `"Büro 100%"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if id, err := req.WorkflowID(); err != nil || id != "ips/h/disks/b%C3%BCro 100%25.vhdx" {
		t.Errorf("workflow id %q, %v", id, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(local))
	for _, op := range []Operation{OpReverseImage, OpConvertToUEFI, OpUpgradePVS} {
		body, err := os.ReadFile("testdata/" + string(op) + ".json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if r, _, err := Parse[ConvertToUEFI](body); err == nil {
			if _, err := r.OutputID(); err != nil {
				t.Errorf("valid, but: %v", err)
			}
		} else if CodeOf(err) != BadRequest {
			t.Errorf("code %q: %v", CodeOf(err), err)
		}
		_, _, _ = Parse[UpgradePVS](body)
		_, _, _ = Parse[ReverseImage](body)
	})
}
