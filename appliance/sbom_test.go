package appliance_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"

	"imageport/appliance"
)

func TestBillOfMaterials(t *testing.T) {
	r := shared(t)
	f, err := os.Open(path(t, r, "sbom"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(f, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.SpecVersion != cyclonedx.SpecVersion1_6 || !strings.HasPrefix(bom.SerialNumber, "urn:uuid:") || bom.Metadata.Component.Name != appliance.Name || (*bom.Metadata.Component.Hashes)[0].Value != r.Digest {
		t.Errorf("%+v", bom)
	}
	var purls []string
	refs := map[string]bool{}
	for _, c := range *bom.Components {
		purls = append(purls, c.PackageURL)
		if refs[c.BOMRef] {
			t.Errorf("%s is there twice", c.BOMRef)
		}
		refs[c.BOMRef] = true
		if strings.HasPrefix(c.PackageURL, "pkg:deb/") && len((*c.Hashes)[0].Value) != 64 {
			t.Errorf("%+v", c)
		}
	}
	for _, want := range []string{"pkg:deb/debian/libc6@", "pkg:deb/debian/linux-image-6.", "pkg:deb/debian/ntfs-3g@1%3A2022", "pkg:deb/debian/systemd-boot-efi@", "pkg:golang/stdlib@1.", "pkg:golang/golang.org/x/sys@v0.", "pkg:golang/imageport"} {
		if !slices.ContainsFunc(purls, func(p string) bool { return strings.HasPrefix(p, want) }) {
			t.Errorf("no %s in %s", want, purls)
		}
	}
}
