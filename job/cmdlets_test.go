package job

import (
	"strings"
	"testing"
)

func TestWireKeys(t *testing.T) {
	for in, want := range map[string]string{
		`{"vspherePort": 8443, "a": {"vspherePort": 1}}`:           `{"vCenterPort": 8443, "a": {"vspherePort": 1}}`,
		"{\n \"x\": [1, {}],\n \"AzureLocation\":\"west\"\n}":      "{\n \"x\": [1, {}],\n \"azureRegion\":\"west\"\n}",
		`{"azureVmResourceGroup":"g","SmbOutputDiskSize":"100"}  `: `{"resourceGroup":"g","outputSizeMb":"100"}  `,
		`{"smbOutput\u0044iskSize":1}`:                             `{"outputSizeMb":1}`,
		`{"resourceGroup":"g","ResourceGroup":"h"}`:                `{"resourceGroup":"g","ResourceGroup":"h"}`,
		`{}`:                        `{}`,
		`[{"vspherePort":1}]`:       `[{"vspherePort":1}]`,
		`{"vspherePort":1,`:         `{"vspherePort":1,`,
		`{"vspherePort":1, "a":tr}`: `{"vspherePort":1, "a":tr}`,
		``:                          ``,
	} {
		if got, err := wireKeys([]byte(in)); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
	_, err := wireKeys([]byte(`{"azureRegion":"a","azureLocation":"b"}`))
	if CodeOf(err) != BadRequest || !strings.Contains(err.Error(), "azureRegion and azureLocation") {
		t.Errorf("both names: %v", err)
	}
}

func FuzzWireKeys(f *testing.F) {
	f.Add([]byte(`{"vspherePort": 8443, "a": {"vspherePort": 1}}`))
	f.Add([]byte(`{"smbOutput\u0044iskSize":1,"x":`))
	f.Fuzz(func(t *testing.T, body []byte) {
		once, err := wireKeys(body)
		if err != nil {
			return
		}
		if twice, err := wireKeys(once); err != nil || string(twice) != string(once) {
			t.Errorf("%q, then %q, %v", once, twice, err)
		}
	})
}

// A request by the names of the cmdlets is one by those of the wire.
func TestCmdletKeys(t *testing.T) {
	const body = `{"platform":"azure","platformCredentialId":"c","resourceLocationId":"r","subscriptionId":"s","AzureLocation":"westeurope","azureVmResourceGroup":"g",
		"virtualNetworkResourceGroupName":"n","virtualNetworkName":"v","virtualNetworkSubnetName":"w","inputStorageLocation":{"credentialId":"f","host":"h","sharePath":"s"},
		"inputImageFilename":"win10","outputDiskName":"out","SmbOutputDiskSize":"2048"}`
	r, warnings, err := Parse[ReverseImage]([]byte(body))
	if err != nil || len(warnings) > 0 || r.AzureRegion != "westeurope" || r.ResourceGroup != "g" || r.OutputSizeMB != 2048 {
		t.Errorf("%+v, %v, %v", r, warnings, err)
	}
	target, err := ParseTarget([]byte(body))
	if err != nil || target.AzureRegion != "westeurope" {
		t.Errorf("%+v, %v", target, err)
	}
}
