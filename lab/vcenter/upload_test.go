package vcenter_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/nfc"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/ovf"
	"github.com/vmware/govmomi/ovf/importer"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/lab/vcenter"
)

const envelope = `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
 <References><File ovf:href="disk.vmdk" ovf:id="file1" ovf:size="%d"/></References>
 <DiskSection><Info>d</Info><Disk ovf:capacity="%d" ovf:capacityAllocationUnits="byte" ovf:diskId="disk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/></DiskSection>
 <NetworkSection><Info>n</Info><Network ovf:name="VM Network"><Description>n</Description></Network></NetworkSection>
 <VirtualSystem ovf:id="ce"><Info>vm</Info><Name>ce</Name>
  <OperatingSystemSection ovf:id="101"><Info>os</Info></OperatingSystemSection>
  <VirtualHardwareSection><Info>hw</Info>
   <System><vssd:ElementName>f</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID><vssd:VirtualSystemIdentifier>ce</vssd:VirtualSystemIdentifier><vssd:VirtualSystemType>vmx-19</vssd:VirtualSystemType></System>
   <Item><rasd:ElementName>cpu</rasd:ElementName><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item>
   <Item><rasd:ElementName>mem</rasd:ElementName><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>256</rasd:VirtualQuantity></Item>
   <Item><rasd:Address>0</rasd:Address><rasd:ElementName>scsi</rasd:ElementName><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType></Item>
   <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>disk</rasd:ElementName><rasd:HostResource>ovf:/disk/disk1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
  </VirtualHardwareSection>
 </VirtualSystem>
</Envelope>`

// stream makes a stream-optimized VMDK, and gives it with its disk.
func stream(t *testing.T, sizeBytes int) (vmdk, raw []byte) {
	t.Helper()
	raw = make([]byte, sizeBytes)
	for at := 100 << 10; at+5000 < len(raw); at += 700 << 10 {
		sum := sha256.Sum256([]byte{byte(at >> 10), byte(at >> 18)})
		copy(raw[at:], bytes.Repeat(sum[:], 150))
	}
	copy(raw[len(raw)-512:], "the last sector")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "raw"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", filepath.Join(dir, "raw"), filepath.Join(dir, "vmdk"))
	vmdk, err := os.ReadFile(filepath.Join(dir, "vmdk"))
	if err != nil {
		t.Fatal(err)
	}
	return vmdk, raw
}

// importOVA does what govc import.ova does.
func (s *site) importOVA(name string, vmdk []byte, sizeBytes int) (*object.VirtualMachine, error) {
	s.t.Helper()
	ova := filepath.Join(s.t.TempDir(), "ce.ova")
	f, err := os.Create(ova)
	if err != nil {
		s.t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for _, file := range []struct {
		name string
		data []byte
	}{{"ce.ovf", fmt.Appendf(nil, envelope, len(vmdk), sizeBytes)}, {"disk.vmdk", vmdk}} {
		if err := w.WriteHeader(&tar.Header{Name: file.name, Mode: 0o600, Size: int64(len(file.data))}); err != nil {
			s.t.Fatal(err)
		}
		if _, err := w.Write(file.data); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		s.t.Fatal(err)
	}
	finder := find.NewFinder(s.client.Client).SetDatacenter(s.dc)
	store, err := finder.DefaultDatastore(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	opener := importer.Opener{Client: s.client.Client}
	imp := &importer.Importer{
		Log:    func(string) (int, error) { return 0, nil },
		Client: s.client.Client, Finder: finder, Datacenter: s.dc, Datastore: store, ResourcePool: s.pool, Folder: s.folder,
		Archive: &importer.TapeArchive{Path: ova, Opener: opener},
	}
	ref, err := imp.Import(s.t.Context(), "*.ovf", importer.Options{Name: &name, DiskProvisioning: "thin"})
	if err != nil {
		return nil, err
	}
	return object.NewVirtualMachine(s.client.Client, *ref), nil
}

// Plain vcsim drops what is uploaded.
func TestImportKeepsTheDisk(t *testing.T) {
	s := start(t, vcenter.Config{})
	vmdk, raw := stream(t, 5*mib)
	vm, err := s.importOVA("ce", vmdk, len(raw))
	if err != nil {
		t.Fatal(err)
	}
	disks := s.disks(vm)
	if len(disks) != 1 {
		t.Fatalf("%d disks", len(disks))
	}
	flat := strings.TrimSuffix(s.path(backing(disks[0]).FileName), ".vmdk") + "-flat.vmdk"
	got, err := os.ReadFile(flat)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, raw) {
		t.Error("the VM's disk is not what was uploaded")
	}
}

func TestImportIntoTemplateAndClone(t *testing.T) {
	s := start(t, vcenter.Config{})
	vmdk, raw := stream(t, 4*mib)
	template, err := s.importOVA("appliance", vmdk, len(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := template.MarkAsTemplate(t.Context()); err != nil {
		t.Fatal(err)
	}
	ref := s.must(template.Clone(t.Context(), s.folder, "ce", s.cloneSpec())).(types.ManagedObjectReference)
	disk := s.disks(object.NewVirtualMachine(s.client.Client, ref))[0]
	describes(t, s.path(backing(disk).FileName), 4*mib, 4*mib-512, "the last sector")
	_, err = s.importOVA("ce", vmdk, len(raw))
	refused(t, err, &types.DuplicateName{})
}

func TestImportOfNonsense(t *testing.T) {
	s := start(t, vcenter.Config{})
	vmdk, raw := stream(t, mib)
	for name, data := range map[string][]byte{
		"text": bytes.Repeat([]byte("no disk "), 1000),
		"half": vmdk[:len(vmdk)/2],
		"none": {},
	} {
		if _, err := s.importOVA("ce-"+name, data, len(raw)); err == nil {
			t.Errorf("%s is a disk", name)
		}
	}
}

func TestAbortedImportLeavesNothing(t *testing.T) {
	s := start(t, vcenter.Config{})
	ctx := t.Context()
	vmdk, raw := stream(t, mib)
	store, err := find.NewFinder(s.client.Client).SetDatacenter(s.dc).DefaultDatastore(ctx)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := ovf.NewManager(s.client.Client).CreateImportSpec(ctx, fmt.Sprintf(envelope, len(vmdk), len(raw)), s.pool, store, &types.OvfCreateImportSpecParams{EntityName: "ce", DiskProvisioning: "thin"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.pool.ImportVApp(ctx, spec.ImportSpec, s.folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.files("ce/")) == 0 {
		t.Error("the import has made nothing")
	}
	info, err := l.Wait(ctx, spec.FileItem)
	if err != nil {
		t.Fatal(err)
	}
	upload := func() error {
		return s.client.Client.Upload(ctx, bytes.NewReader(vmdk), info.Items[0].URL, &soap.Upload{Method: "POST", ContentLength: int64(len(vmdk))})
	}
	if err := upload(); err != nil {
		t.Fatal(err)
	}
	abort := func(l *nfc.Lease) error {
		_, err := methods.HttpNfcLeaseAbort(ctx, s.client.Client, &types.HttpNfcLeaseAbort{This: l.Reference()})
		return err
	}
	if err := abort(l); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the VM's files to go", func() bool { return len(s.files("")) == 0 })
	if err := upload(); err == nil {
		t.Error("the lease is still good")
	}
}
