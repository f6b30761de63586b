package vsphere

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"imageport/platforms"
)

// testDescriptor describes a VM as the appliance's OVA does.
const testDescriptor = `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
<References><File ovf:id="file1" ovf:href="%[1]s" ovf:size="%[2]d"/></References>
<DiskSection><Info>disk</Info><Disk ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:capacity="1048576" ovf:capacityAllocationUnits="byte" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/></DiskSection>
<NetworkSection><Info>network</Info><Network ovf:name="VM Network"><Description>d</Description></Network></NetworkSection>
<VirtualSystem ovf:id="appliance"><Info>appliance</Info><Name>appliance</Name>
<OperatingSystemSection ovf:id="101" vmw:osType="otherLinux64Guest"><Info>os</Info></OperatingSystemSection>
<VirtualHardwareSection><Info>hardware</Info><System><vssd:ElementName>h</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID><vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType></System>
<Item><rasd:ElementName>cpu</rasd:ElementName><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
<Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ElementName>mem</rasd:ElementName><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>1024</rasd:VirtualQuantity></Item>
<Item><rasd:ElementName>scsi</rasd:ElementName><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType></Item>
<Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>disk1</rasd:ElementName><rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
<Item><rasd:AutomaticAllocation>true</rasd:AutomaticAllocation><rasd:Connection>VM Network</rasd:Connection><rasd:ElementName>net</rasd:ElementName><rasd:InstanceID>5</rasd:InstanceID><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType><rasd:ResourceType>10</rasd:ResourceType></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>`

type tarMember struct{ name, content string }

func writeTar(t testing.TB, members ...tarMember) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if err := w.WriteHeader(&tar.Header{Name: m.name, Size: int64(len(m.content)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "appliance.ova")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// testDisk is a disk of 1 MiB as an OVA has it.
var testDisk = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "vsphere-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	raw, path := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "disk.vmdk")
	if err := os.WriteFile(raw, bytes.Repeat([]byte("appliance "), 1<<20/10+1)[:1<<20], 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, path).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("qemu-img: %w: %s", err, out)
	}
	return os.ReadFile(path)
})

// testOVA writes a small OVA, which boots nothing.
func testOVA(t testing.TB) string {
	t.Helper()
	disk, err := testDisk()
	if err != nil {
		t.Fatal(err)
	}
	return writeTar(t,
		tarMember{"appliance.ovf", fmt.Sprintf(testDescriptor, "appliance-disk1.vmdk", len(disk))},
		tarMember{"appliance-disk1.vmdk", string(disk)})
}

func TestOVA(t *testing.T) {
	f := newOVAFile(testOVA(t))
	o, err := f.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(o.digest) != 64 || len(o.networks) != 1 || o.networks[0] != "VM Network" || o.members["appliance-disk1.vmdk"].size == 0 {
		t.Errorf("read %+v", o)
	}
	file, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	content, err := o.content(file, "appliance-disk1.vmdk")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(content)
	if want, _ := testDisk(); err != nil || !bytes.Equal(b, want) {
		t.Errorf("the disk has %d bytes, %v; want %d", len(b), err, len(want))
	}
	if again, err := f.Read(t.Context()); err != nil || again != o {
		t.Errorf("it is read again: %v", err)
	}
}

func TestOVARefused(t *testing.T) {
	descriptor := fmt.Sprintf(testDescriptor, "d.vmdk", 4)
	whole, err := os.ReadFile(writeTar(t, tarMember{"a.ovf", descriptor}, tarMember{"d.vmdk", "disk"}))
	if err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "short.ova")
	if err := os.WriteFile(short, whole[:1000], 0o600); err != nil {
		t.Fatal(err)
	}
	for what, tc := range map[string]struct {
		path string
		kind platforms.Kind
		in   string
	}{
		"not there":      {filepath.Join(t.TempDir(), "no.ova"), platforms.NotFound, "imageport appliance build --formats ova"},
		"cut off":        {short, platforms.BadRequest, "unexpected EOF"},
		"no descriptor":  {writeTar(t, tarMember{"d.vmdk", "disk"}), platforms.BadRequest, "no OVF descriptor"},
		"no disk":        {writeTar(t, tarMember{"a.ovf", descriptor}), platforms.BadRequest, "refers to d.vmdk"},
		"another size":   {writeTar(t, tarMember{"a.ovf", descriptor}, tarMember{"d.vmdk", "disks"}), platforms.BadRequest, "has 5 bytes, its descriptor says 4"},
		"no XML":         {writeTar(t, tarMember{"a.ovf", "hello"}), platforms.BadRequest, "descriptor"},
		"huge":           {writeTar(t, tarMember{"a.ovf", strings.Repeat(" ", maxDescriptor+1)}), platforms.BadRequest, "at most"},
		"an empty thing": {writeTar(t, tarMember{"a.ovf", `<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"></Envelope>`}), platforms.BadRequest, "no VM"},
	} {
		f := newOVAFile(tc.path)
		_, err := f.Read(t.Context())
		if platforms.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.in) {
			t.Errorf("%s: %s, %v; want %s with %q", what, platforms.KindOf(err), err, tc.kind, tc.in)
		}
	}
}

func FuzzOVA(f *testing.F) {
	for _, members := range [][]tarMember{
		{{"a.ovf", fmt.Sprintf(testDescriptor, "d.vmdk", 4)}, {"d.vmdk", "disk"}},
		{{"a.ovf", "hello"}},
		{{"d.vmdk", "disk"}},
	} {
		b, err := os.ReadFile(writeTar(f, members...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := readOVA(t.Context(), bytes.NewReader(b))
		if err != nil {
			return
		}
		for name, m := range o.members {
			if m.offset < 0 || m.size < 0 || m.offset > int64(len(b)) {
				t.Errorf("%s lies at %+v of %d bytes", name, m, len(b))
			}
		}
	})
}
