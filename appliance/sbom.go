package appliance

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"net/url"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"

	"imageport/appliance/lock"
)

// namespace is that of the serial numbers of our bills of materials, which are
// UUIDs of the version 5.
var namespace = uuid.MustParse("2f6f0a0e-6d0c-5a5b-9d53-5a1c9f1d3c52")

// billOfMaterials lists what is in the appliance as CycloneDX 1.6: the packages
// of the lock and the Go modules of the agent.
func (o Options) billOfMaterials(a agent, r *Result) ([]byte, error) {
	components := make([]cyclonedx.Component, 0, len(o.Lock.Packages)+len(a.info.Deps)+2)
	for _, p := range o.Lock.Packages {
		components = append(components, debianComponent(o.Lock.Suite, p))
	}
	components = append(components, goComponents(a.info)...)
	bom := cyclonedx.NewBOM()
	bom.SerialNumber = uuid.NewSHA1(namespace, []byte(r.Digest)).URN()
	bom.Metadata = &cyclonedx.Metadata{
		Timestamp: o.Time.UTC().Format(time.RFC3339),
		Component: &cyclonedx.Component{
			BOMRef: Name, Type: cyclonedx.ComponentTypeOS, Name: Name, Version: r.Version, Description: title,
			Hashes:     sha256Hashes(r.Digest),
			Properties: &[]cyclonedx.Property{{Name: "imageport:lock:sha256", Value: r.Lock}, {Name: "imageport:kernel", Value: r.Kernel}},
		},
	}
	bom.Components = &components
	var b bytes.Buffer
	encoder := cyclonedx.NewBOMEncoder(&b, cyclonedx.BOMFileFormatJSON).SetPretty(true)
	if err := encoder.EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// debianComponent names a package as the type deb of the specification of
// package URLs does. Its source is what the GPL entitles to.
func debianComponent(suite string, p lock.Package) cyclonedx.Component {
	name, version, _ := strings.Cut(p.Source, "=")
	purl := "pkg:deb/debian/" + url.QueryEscape(p.Name) + "@" + url.QueryEscape(p.Version) + "?arch=amd64&distro=debian-" + suite + "&upstream=" + url.QueryEscape(name+"@"+version)
	return cyclonedx.Component{
		BOMRef: purl, PackageURL: purl, Type: cyclonedx.ComponentTypeLibrary, Name: p.Name, Version: p.Version, Hashes: sha256Hashes(p.SHA256),
		Properties: &[]cyclonedx.Property{{Name: "imageport:deb:archive", Value: p.Archive}, {Name: "imageport:deb:path", Value: p.Path}, {Name: "imageport:deb:source", Value: name + " " + version}},
	}
}

func sha256Hashes(sum string) *[]cyclonedx.Hash {
	return &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: sum}}
}

// goComponents are Go itself and the modules that a program was built from, in
// the order of their paths.
func goComponents(info *buildinfo.BuildInfo) []cyclonedx.Component {
	components := []cyclonedx.Component{
		goComponent("stdlib", strings.TrimPrefix(info.GoVersion, "go")),
		goComponent(info.Main.Path, info.Main.Version),
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		components = append(components, goComponent(m.Path, m.Version))
	}
	return components
}

func goComponent(path, version string) cyclonedx.Component {
	purl := "pkg:golang/" + strings.ToLower(path)
	if version = cmp.Or(strings.Trim(version, "()"), "devel"); version != "devel" {
		purl += "@" + url.QueryEscape(version)
	}
	return cyclonedx.Component{BOMRef: purl, PackageURL: purl, Type: cyclonedx.ComponentTypeLibrary, Name: path, Version: version}
}
