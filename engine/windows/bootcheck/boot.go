package bootcheck

import (
	"fmt"
	"strings"

	"imageport/engine/windows/ntfs"
)

// checkBoot follows the boot configuration as the boot manager does: to the
// default entry, its loader and its Windows, then to what else it names.
func (c *checker) checkBoot() error {
	e, ok := c.system.find(storePath)
	if !ok || e.dir {
		return wrong("EFI system partition: there is no /%s", storePath)
	}
	var err error
	if c.store, err = c.openStore(e, "BCD"); err != nil {
		return err
	}
	for _, step := range []func() error{c.checkRecoveryStore, c.checkManager, c.checkDefault, c.checkOthers} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// openStore reads a store on the ESP, and looks in it for what names an MBR
// disk.
func (c *checker) openStore(e entry, what string) (*store, error) {
	h, err := readHive(c.ctx, c.system.contents(e), e.size, what)
	if err != nil {
		return nil, err
	}
	s, err := readStore(h)
	if err != nil {
		return nil, err
	}
	c.add(what, "/%s was written to its end; it has %d objects", e.path, len(s.order))
	return s, c.checkDescriptors(s, what)
}

// checkRecoveryStore checks the store that Windows RE may have on the ESP.
func (c *checker) checkRecoveryStore() error {
	e, ok := c.system.find(recoveryStorePath)
	if !ok || e.dir {
		return nil
	}
	_, err := c.openStore(e, "recovery BCD")
	return err
}

// checkDescriptors looks for what names an MBR disk.
func (c *checker) checkDescriptors(s *store, what string) error {
	var others []string
	for _, o := range s.order {
		for _, e := range o.elements {
			if !e.isDevice() {
				continue
			}
			for _, d := range mbrPartitions(e.data) {
				if c.want.Signature != 0 && d.signature == c.want.Signature {
					return wrong("%s: element %08x of %s is %v, expected a partition of the GPT disk {%v}", what, e.id, o.title(), d, c.table.diskGUID)
				}
				if len(others) < mostReported {
					others = append(others, fmt.Sprintf("element %08x of %s is %v", e.id, o.title(), d))
				}
			}
		}
	}
	if others == nil {
		others = []string{"none, in any element"}
	}
	c.add(what+", MBR devices", "%s", strings.Join(others, "; "))
	return nil
}

// checkManager checks the boot manager's own object.
func (c *checker) checkManager() error {
	o, ok := c.store.objects[bootManager]
	if !ok || o.kind != typeBootManager {
		return wrong("BCD: there is no boot manager {%v} of type 0x%x", bootManager, typeBootManager)
	}
	p, d, err := c.resolve(o, elemDevice)
	if err != nil {
		return err
	}
	if p == nil || p.Number != c.esp.Number {
		return wrong("BCD: the boot manager's device is %s, expected the EFI system partition %v", d, c.esp.ID)
	}
	path := o.text(elemPath)
	if !strings.EqualFold(strings.ReplaceAll(strings.TrimPrefix(path, `\`), `\`, "/"), bootManagerPath) {
		return wrong("BCD: the boot manager's path is %q, expected %q", path, `\`+strings.ReplaceAll(bootManagerPath, "/", `\`))
	}
	c.add("BCD, boot manager", "%s on %s, the EFI system partition", path, d)
	for _, id := range o.list(elemMenu) {
		if _, ok := c.store.objects[id]; !ok {
			return wrong("BCD: the menu (displayorder) names {%v}, but there is no such object", id)
		}
	}
	// The boot manager passes over these if they are not there.
	var dangling []string
	for _, element := range []uint32{elemNext, elemTools} {
		for _, id := range o.list(element) {
			if _, ok := c.store.objects[id]; !ok {
				dangling = append(dangling, fmt.Sprintf("element %08x names {%v}, which is not there", element, id))
			}
		}
	}
	if dangling == nil {
		dangling = []string{"so is all in bootsequence and toolsdisplayorder"}
	}
	c.add("BCD, menu", "all %d of displayorder are there; %s", len(o.list(elemMenu)), strings.Join(dangling, "; "))
	return nil
}

// checkDefault follows the default entry to Windows.
func (c *checker) checkDefault() error {
	ids := c.store.objects[bootManager].list(elemDefault)
	if len(ids) != 1 {
		return wrong("BCD: the boot manager names %d default entries, expected 1", len(ids))
	}
	o, ok := c.store.objects[ids[0]]
	if !ok || o.kind != typeLoader {
		return wrong("BCD: the default entry {%v} is no object of type 0x%x, a Windows loader", ids[0], typeLoader)
	}
	who := "the default entry " + o.title()
	p, path, _, err := c.follow(o, who, elemDevice, elemPath)
	if err != nil {
		return err
	}
	if err := c.checkLoader(p, path); err != nil {
		return err
	}
	at, root, e, err := c.follow(o, who, elemOSDevice, elemSystemRoot)
	if err != nil {
		return err
	}
	if !e.IsDir {
		return wrong("BCD: %s names %s on %s, which is a file, expected the folder of Windows", who, root, name(at))
	}
	c.windows, c.root = at, root
	c.add("BCD, default entry", "%s starts %s on %s; Windows is %s on %s", o.title(), path, name(p), c.root, name(c.windows))
	if err := c.reportResume(o); err != nil {
		return err
	}
	return c.reportRecovery(o)
}

// follow follows two elements, a device and a path there, which must lead to an
// NTFS volume and a file or folder on it.
func (c *checker) follow(o *object, who string, device, pathElement uint32) (Partition, string, ntfs.Entry, error) {
	fail := func(err error) (Partition, string, ntfs.Entry, error) { return Partition{}, "", ntfs.Entry{}, err }
	p, d, err := c.resolve(o, device)
	if err != nil {
		return fail(err)
	}
	if p == nil {
		return fail(wrong("BCD: element %08x of %s is %s, expected a partition of the disk {%v}", device, who, d, c.table.diskGUID))
	}
	v, err := c.ntfs(*p)
	if err != nil {
		return fail(err)
	}
	if v.volume == nil {
		return fail(wrong("BCD: element %08x of %s is %s, %s, expected one with NTFS: %w", device, who, d, name(*p), v.why))
	}
	path := o.text(pathElement)
	if path == "" {
		return fail(wrong("BCD: %s has no element %08x, expected a path", who, pathElement))
	}
	e, err := v.volume.Stat(path)
	if err != nil {
		return fail(fault(err, "BCD: %s names %s on %s", who, path, name(*p)))
	}
	return *p, path, e, nil
}

// checkLoader checks the program that starts Windows.
func (c *checker) checkLoader(p Partition, path string) error {
	if !strings.EqualFold(path[max(0, len(path)-len(".efi")):], ".efi") {
		return wrong("BCD: the default entry's program is %s, expected winload.efi: that one is for BIOS", path)
	}
	f, err := c.volumes[p.Number].volume.Open(path)
	if err != nil {
		return fault(err, "%s: %s", name(p), path)
	}
	return checkProgram(f, f.Size(), name(p)+": "+path, subsystemAny)
}

// resolve finds the partition that a device element of an object leads to. It
// is nil if that is none of this disk. The text describes the device.
func (c *checker) resolve(o *object, id uint32) (*Partition, string, error) {
	b, ok := o.raw(id)
	if !ok {
		return nil, "missing", nil
	}
	d, ok := parseDevice(b)
	if !ok {
		return nil, "damaged", nil
	}
	p, err := c.partition(o, d)
	return p, d.String(), err
}

// partition finds the partition that a device is, or is on for something other
// than a file.
func (c *checker) partition(o *object, d device) (*Partition, error) {
	switch {
	case d.kind == deviceBoot:
		return &c.esp, nil
	case d.kind == devicePartition && d.style == styleGPT:
		if p, ok := c.table.byID(d.partition); ok && d.disk == c.table.diskGUID {
			return &p, nil
		}
	case d.kind == deviceLocate && d.locate != 0:
		path := o.text(d.locate)
		for _, p := range c.table.partitions {
			if ok, err := c.has(p, path); ok || err != nil {
				return &p, err
			}
		}
	}
	return nil, nil
}

// checkOthers reports where the other entries of the menu, and the tools, lead.
func (c *checker) checkOthers() error {
	o := c.store.objects[bootManager]
	first := o.list(elemDefault)[0]
	for _, id := range o.list(elemMenu) {
		other := c.store.objects[id]
		if id == first || other.kind != typeLoader {
			continue
		}
		if err := c.report("BCD, other entry", other, elemDevice, elemPath); err != nil {
			return err
		}
	}
	for _, id := range o.list(elemTools) {
		if tool, ok := c.store.objects[id]; ok {
			if err := c.report("BCD, tool", tool, elemDevice, elemPath); err != nil {
				return err
			}
		}
	}
	return nil
}

// reportResume reports what wakes a Windows that hibernated.
func (c *checker) reportResume(o *object) error {
	for _, id := range o.list(elemResume) {
		resume, ok := c.store.objects[id]
		if !ok {
			c.add("BCD, resume", "{%v} is not resolved: there is no such object", id)
			continue
		}
		if err := c.report("BCD, resume", resume, elemDevice, elemPath); err != nil {
			return err
		}
	}
	return nil
}

// report says whether a device and a path lead to a file, or to a RAM disk that
// can be made.
func (c *checker) report(what string, o *object, device, path uint32) error {
	b, _ := o.raw(device)
	d, ok := parseDevice(b)
	if ok && d.kind == deviceLocal && d.inner != nil {
		return c.reportRAMDisk(what, o, d)
	}
	p, text, err := c.resolve(o, device)
	if err != nil {
		return err
	}
	_, err = c.reportFile(what, o.title(), p, text, o.text(path))
	return err
}

// reportFile says whether there is a file on a partition, nil if it was not
// found.
func (c *checker) reportFile(what, who string, p *Partition, device, path string) (bool, error) {
	if p == nil {
		c.add(what, "%s is not resolved: its device is %s, which is not on this disk", who, device)
		return false, nil
	}
	ok, err := c.has(*p, path)
	if err != nil {
		return false, err
	}
	if !ok {
		c.add(what, "%s is not resolved: there is no %s on %s", who, path, name(*p))
		return false, nil
	}
	c.add(what, "%s: %s is on %s", who, path, name(*p))
	return true, nil
}

// reportRecovery reports what is started when Windows does not.
func (c *checker) reportRecovery(o *object) error {
	ids := o.list(elemRecovery)
	if len(ids) == 0 {
		c.add("BCD, recovery", "%s has no recovery sequence", o.title())
	}
	for _, id := range ids {
		recovery, ok := c.store.objects[id]
		if !ok {
			c.add("BCD, recovery", "{%v} is not resolved: there is no such object", id)
			continue
		}
		if err := c.report("BCD, recovery", recovery, elemDevice, elemPath); err != nil {
			return err
		}
	}
	return nil
}

// reportRAMDisk reports the image that a RAM disk is made of, and the file that
// its options name, with which it is made.
func (c *checker) reportRAMDisk(what string, o *object, d device) error {
	p, err := c.partition(o, *d.inner)
	if err != nil {
		return err
	}
	if ok, err := c.reportFile(what, o.title(), p, d.inner.String(), d.path); err != nil || !ok {
		return err
	}
	options, ok := c.store.objects[d.options]
	if !ok {
		c.add(what, "%s is not resolved: the options {%v} of its RAM disk are not there", o.title(), d.options)
		return nil
	}
	p, text, err := c.resolve(options, elemSDIDevice)
	if err != nil {
		return err
	}
	_, err = c.reportFile(what, options.title(), p, text, options.text(elemSDIPath))
	return err
}

// windowsVolume is the NTFS volume of Windows, which has been opened.
func (c *checker) windowsVolume() *ntfs.Volume { return c.volumes[c.windows.Number].volume }
