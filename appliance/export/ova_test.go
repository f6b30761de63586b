package export

import (
	"archive/tar"
	"encoding/xml"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"imageport/job/seed"
	"imageport/testkit/disktest"
)

// envelope is what an importer reads of a descriptor, by the names of the OVF
// namespace.
type envelope struct {
	XMLName xml.Name `xml:"http://schemas.dmtf.org/ovf/envelope/1 Envelope"`
	Files   []struct {
		ID   string `xml:"http://schemas.dmtf.org/ovf/envelope/1 id,attr"`
		Href string `xml:"http://schemas.dmtf.org/ovf/envelope/1 href,attr"`
		Size int64  `xml:"http://schemas.dmtf.org/ovf/envelope/1 size,attr"`
	} `xml:"References>File"`
	Disks []struct {
		ID        string `xml:"http://schemas.dmtf.org/ovf/envelope/1 diskId,attr"`
		FileRef   string `xml:"http://schemas.dmtf.org/ovf/envelope/1 fileRef,attr"`
		Capacity  int64  `xml:"http://schemas.dmtf.org/ovf/envelope/1 capacity,attr"`
		Units     string `xml:"http://schemas.dmtf.org/ovf/envelope/1 capacityAllocationUnits,attr"`
		Populated int64  `xml:"http://schemas.dmtf.org/ovf/envelope/1 populatedSize,attr"`
		Format    string `xml:"http://schemas.dmtf.org/ovf/envelope/1 format,attr"`
	} `xml:"DiskSection>Disk"`
	Networks []struct {
		Name string `xml:"http://schemas.dmtf.org/ovf/envelope/1 name,attr"`
	} `xml:"NetworkSection>Network"`
	VM struct {
		ID   string `xml:"http://schemas.dmtf.org/ovf/envelope/1 id,attr"`
		Name string
		OS   struct {
			ID   int    `xml:"http://schemas.dmtf.org/ovf/envelope/1 id,attr"`
			Type string `xml:"http://www.vmware.com/schema/ovf osType,attr"`
		} `xml:"OperatingSystemSection"`
		Hardware struct {
			Transport string `xml:"http://schemas.dmtf.org/ovf/envelope/1 transport,attr"`
			Family    string `xml:"System>VirtualSystemType"`
			Items     []item `xml:"Item"`
			Config    []struct {
				Key   string `xml:"http://www.vmware.com/schema/ovf key,attr"`
				Value string `xml:"http://www.vmware.com/schema/ovf value,attr"`
			} `xml:"http://www.vmware.com/schema/ovf Config"`
		} `xml:"VirtualHardwareSection"`
		Product struct {
			Version    string
			Properties []struct {
				Key   string `xml:"http://schemas.dmtf.org/ovf/envelope/1 key,attr"`
				Type  string `xml:"http://schemas.dmtf.org/ovf/envelope/1 type,attr"`
				Users bool   `xml:"http://schemas.dmtf.org/ovf/envelope/1 userConfigurable,attr"`
			} `xml:"Property"`
		} `xml:"ProductSection"`
	} `xml:"VirtualSystem"`
}

// item is a piece of virtual hardware, by its CIM resource type.
type item struct {
	ResourceType    int
	ResourceSubType string
	VirtualQuantity int
	AllocationUnits string
	HostResource    string
	Connection      string
	InstanceID      int
	Parent          int
}

func TestOVA(t *testing.T) {
	uki := program(appliance, 14)
	path, info := export(t, OVA, uki, Options{Name: "ce-1.2.3", Version: `1.2.3 <&">`})

	// In the order that importers stream it.
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	members := map[string]int64{}
	var order []string
	for archive := tar.NewReader(f); ; {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Format != tar.FormatUSTAR || h.Mode != 0o644 || !h.ModTime.Equal(made) {
			t.Errorf("%+v", h)
		}
		members[h.Name] = h.Size
		order = append(order, h.Name)
	}
	if want := []string{"ce-1.2.3.ovf", "ce-1.2.3.mf", "ce-1.2.3-disk1.vmdk"}; !reflect.DeepEqual(order, want) {
		t.Fatalf("members %v, expected %v", order, want)
	}

	// The manifest in the form of ovftool: "SHA256(name)= hash".
	dir := untar(t, path)
	manifest, err := os.ReadFile(dir + "/ce-1.2.3.mf")
	if err != nil {
		t.Fatal(err)
	}
	sums := exec.Command("sha256sum", "--check", "--strict")
	sums.Dir = dir
	sums.Stdin = strings.NewReader(strings.NewReplacer("SHA256(", "SHA256 (", ")= ", ") = ").Replace(string(manifest)))
	if out, err := sums.CombinedOutput(); err != nil || strings.Count(string(out), ": OK\n") != 2 {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}

	text, err := os.ReadFile(dir + "/ce-1.2.3.ovf")
	if err != nil {
		t.Fatal(err)
	}
	var e envelope
	if err := xml.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	if len(e.Files) != 1 || len(e.Disks) != 1 || len(e.Networks) != 1 {
		t.Fatalf("%+v", e)
	}
	if got := e.Files[0]; got.Href != order[2] || got.Size != members[order[2]] || e.Disks[0].FileRef != got.ID {
		t.Errorf("file %+v for disk %+v", got, e.Disks[0])
	}
	if got := e.Disks[0]; got.Capacity != info.Layout.SizeBytes || got.Units != "byte" || !strings.HasSuffix(got.Format, "#streamOptimized") || got.Populated <= int64(len(uki)) || got.Populated > got.Capacity {
		t.Errorf("disk %+v", got)
	}
	vm := e.VM
	if vm.ID != "ce-1.2.3" || vm.Name != "ce-1.2.3" || vm.OS.ID != 101 || vm.OS.Type != "otherLinux64Guest" {
		t.Errorf("VM %q, %q, OS %+v", vm.ID, vm.Name, vm.OS)
	}
	if h := vm.Hardware; h.Family != "vmx-13" || h.Transport != "com.vmware.guestInfo iso" || len(h.Config) != 1 || h.Config[0].Key != "firmware" || h.Config[0].Value != "efi" {
		t.Errorf("hardware %q, transport %q, %+v", h.Family, h.Transport, h.Config)
	}
	if p := vm.Product; p.Version != `1.2.3 <&">` || len(p.Properties) != 1 || p.Properties[0].Key != seed.Key || p.Properties[0].Type != "string" || !p.Properties[0].Users {
		t.Errorf("product %+v", p)
	}
	want := []item{
		{ResourceType: 3, InstanceID: 1, VirtualQuantity: 2, AllocationUnits: "hertz * 10^6"},
		{ResourceType: 4, InstanceID: 2, VirtualQuantity: 1024, AllocationUnits: "byte * 2^20"},
		{ResourceType: 6, InstanceID: 3, ResourceSubType: "VirtualSCSI"},
		{ResourceType: 5, InstanceID: 4},
		{ResourceType: 17, InstanceID: 5, Parent: 3, HostResource: "ovf:/disk/" + e.Disks[0].ID},
		{ResourceType: 15, InstanceID: 6, Parent: 4, ResourceSubType: "vmware.cdrom.remotepassthrough"},
		{ResourceType: 10, InstanceID: 7, ResourceSubType: "VmxNet3", Connection: e.Networks[0].Name},
	}
	if !reflect.DeepEqual(vm.Hardware.Items, want) {
		t.Errorf("items %+v, expected %+v", vm.Hardware.Items, want)
	}
	disktest.Run(t, "7zz", "t", "-ttar", path)
}
