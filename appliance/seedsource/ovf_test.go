package seedsource

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"imageport/appliance/seedsource/media"
	"imageport/job/seed"
)

// vsphereEnvironment has the shape of what vSphere 8 writes for a VM with the
// properties.
func vsphereEnvironment(properties string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>
<Environment
     xmlns="http://schemas.dmtf.org/ovf/environment/1"
     xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
     xmlns:oe="http://schemas.dmtf.org/ovf/environment/1"
     xmlns:ve="http://www.vmware.com/schema/ovfenv"
     oe:id=""
     ve:vCenterId="vm-1042">
   <PlatformSection>
      <Kind>VMware ESXi</Kind>
      <Version>8.0.2</Version>
      <Vendor>VMware, Inc.</Vendor>
      <Locale>en</Locale>
   </PlatformSection>
   <PropertySection>
` + properties + `
   </PropertySection>
   <ve:EthernetAdapterSection>
      <ve:Adapter ve:mac="00:50:56:8e:aa:bb" ve:network="VM Network" ve:unitNumber="7"/>
   </ve:EthernetAdapterSection>
</Environment>
`
}

// azureEnvironment has the shape of what Azure puts on the provisioning disc.
func azureEnvironment(customData string) string {
	return `<?xml version="1.0" encoding="utf-8"?>
<ns0:Environment xmlns:ns0="http://schemas.dmtf.org/ovf/environment/1" xmlns:ns1="http://schemas.microsoft.com/windowsazure" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <ns1:ProvisioningSection>
    <ns1:Version>1.0</ns1:Version>
    <ns1:LinuxProvisioningConfigurationSet>
      <ns1:ConfigurationSetType>LinuxProvisioningConfiguration</ns1:ConfigurationSetType>
      <ns1:HostName>ce-0123456789ab</ns1:HostName>
      <ns1:CustomData>` + customData + `</ns1:CustomData>
      <ns1:DisableSshPasswordAuthentication>true</ns1:DisableSshPasswordAuthentication>
    </ns1:LinuxProvisioningConfigurationSet>
  </ns1:ProvisioningSection>
  <ns1:PlatformSettingsSection>
    <ns1:Version>1.0</ns1:Version>
    <ns1:PlatformSettings><ns1:ProvisionGuestAgent>false</ns1:ProvisionGuestAgent></ns1:PlatformSettings>
  </ns1:PlatformSettingsSection>
</ns0:Environment>`
}

func TestOVFEnvironment(t *testing.T) {
	b64 := media.Base64([]byte(raw))
	ours := fmt.Sprintf(`<Property oe:key="imageport-ce" oe:value="%s"/>`, b64)
	const other = `<Property oe:key="hostname" oe:value="&lt;&#x65;&gt;"/>`
	for _, c := range []struct {
		what, document string
		err            string // nothing: the seed is found
		malformed      bool
	}{
		{"our own", string(media.OVFEnvironment([]byte(raw))), "", false},
		{"vSphere's", vsphereEnvironment(other + ours), "", false},
		{"with a mark of its byte order", "\ufeff" + vsphereEnvironment(ours), "", false},
		{"Azure's", azureEnvironment("\n" + b64[:20] + "\n" + b64[20:] + "\n"), "", false},
		{"another's property", vsphereEnvironment(other), "has no property imageport-ce", false},
		{"another's namespace", `<Property key="imageport-ce" value="` + b64 + `"/>`, "has no property imageport-ce", false},
		{"a property without a value", vsphereEnvironment(`<Property oe:key="imageport-ce"/>`), "has the seed empty", false},
		{"no CustomData in it", azureEnvironment(""), "has the seed empty", false},
		{"nothing", "", "has no property imageport-ce", false},
		{"bad base64", azureEnvironment("t0ken!"), "no base64 at character 5", true},
		{"not closed", vsphereEnvironment(ours)[:600], "no XML at line", true},
		{"broken behind the property", vsphereEnvironment(ours + "<t0ken"), "no XML at line", true},
		{"an entity that nobody defined", vsphereEnvironment(`<Property oe:value="&t0ken;"/>`), "no XML at line", true},
		{"longer than a seed", azureEnvironment(strings.Repeat("QUJD", seed.MaxBytes)), "more than 4096 characters", true},
		{"another alphabet", `<?xml version="1.0" encoding="utf-16"?><e/>`, "no XML at line", true},
	} {
		got, err := ovfEnvironment([]byte(c.document))
		switch {
		case c.err == "" && (err != nil || string(got) != raw):
			t.Errorf("%s: %q, %v", c.what, got, err)
		case c.err == "":
		case err == nil || !strings.Contains(err.Error(), c.err) || errors.Is(err, ErrMalformed) != c.malformed:
			t.Errorf("%s: %v, want %s", c.what, err, c.err)
		case strings.Contains(err.Error(), "t0k"):
			t.Errorf("%s: %v quotes the document", c.what, err)
		}
	}
}

func FuzzOVFEnvironment(f *testing.F) {
	b64 := media.Base64([]byte(raw))
	f.Add([]byte(vsphereEnvironment(fmt.Sprintf(`<Property oe:key="imageport-ce" oe:value="%s"/>`, b64))))
	f.Add([]byte(azureEnvironment(b64)))
	f.Fuzz(func(t *testing.T, document []byte) {
		got, err := ovfEnvironment(document)
		if (err == nil) == (len(got) == 0) {
			t.Errorf("%q and %v", got, err)
		}
		if len(got) > maxText {
			t.Errorf("%d bytes", len(got))
		}
	})
}
