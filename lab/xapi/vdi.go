package xapi

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

const (
	// sizeStep is what the size of a disk is rounded up to: a block of the VHD
	// that it is.
	sizeStep = 2 << 20
	// maxSize is that of the largest VHD.
	maxSize = 2088960 << 20
)

// createVDI implements VDI.create.
func createVDI(c *call) (any, error) {
	rec := c.record(0)
	if c.p.get("SR", rec.text("SR")) == nil {
		return nil, fail("HANDLE_INVALID", "SR", rec.text("SR"))
	}
	return c.p.makeVDI(rec)
}

// makeVDI makes an empty disk.
func (p *Pool) makeVDI(rec record) (ref string, err error) {
	size := rec.number("virtual_size")
	if size < 1<<20 || size > maxSize {
		return "", fail("SR_BACKEND_FAILURE_79", "", "VDI Invalid size [opterr=VDI size must be between 1 MB and 2088960 MB]", "")
	}
	size = (size + sizeStep - 1) / sizeStep * sizeStep
	if err := p.room(rec.text("SR"), size); err != nil {
		return "", err
	}
	rec["virtual_size"], rec["physical_utilisation"], rec["managed"] = size, size, true
	ref = p.insert("VDI", rec)
	vdi := p.get("VDI", ref)
	vdi["location"] = vdi["uuid"]
	if err := makeFile(p.file(vdi), size); err != nil {
		delete(p.objects["VDI"], ref)
		return "", internal("%v", err)
	}
	return ref, nil
}

// room refuses what a storage repository has no space for.
func (p *Pool) room(sr string, size int64) error {
	free := p.get("SR", sr).number("physical_size") - p.used(sr)
	if size > free {
		return fail("SR_FULL", strconv.FormatInt(size, 10), strconv.FormatInt(max(free, 0), 10))
	}
	return nil
}

// used gives the bytes of a storage repository that are taken: all of its disks,
// as none is thin here.
func (p *Pool) used(sr string) int64 {
	n := p.filled[sr]
	for _, ref := range p.referring("VDI", "SR", sr) {
		n += p.get("VDI", ref).number("virtual_size")
	}
	return n
}

// file is where the bytes of a disk are.
func (p *Pool) file(vdi record) string {
	return filepath.Join(p.dir, p.get("SR", vdi.text("SR")).text("uuid"), vdi.text("uuid")+".raw")
}

// destroyVDI implements VDI.destroy.
func destroyVDI(c *call) (any, error) {
	c.p.removeVDI(c.text(0))
	return "", nil
}

// removeVDI removes a disk, and the devices that it was.
func (p *Pool) removeVDI(ref string) {
	vdi := p.get("VDI", ref)
	if vdi == nil {
		return
	}
	_ = os.Remove(p.file(vdi)) // what stays is in nobody's way, and Close removes it
	for _, r := range p.referring("VBD", "VDI", ref) {
		delete(p.objects["VBD"], r)
	}
	delete(p.objects["VDI"], ref)
}

// cloneVDI implements VDI.clone.
func cloneVDI(c *call) (any, error) { return c.copyVDI(c.text(0), null, "clone") }

// copyVDITo implements VDI.copy, to a storage repository or into a disk that is
// there.
func copyVDITo(c *call) (any, error) {
	if c.text(2) != null {
		return nil, fail("NOT_IMPLEMENTED", "VDI.copy with base_vdi")
	}
	if c.text(3) != null {
		return c.copyInto(c.text(0), c.text(3))
	}
	if c.p.get("SR", c.text(1)) == nil {
		return nil, fail("HANDLE_INVALID", "SR", c.text(1))
	}
	return c.copyVDI(c.text(0), c.text(1), "copy")
}

// copyInto writes the content of a disk to another one, whose properties stay.
func (c *call) copyInto(from, to string) (string, error) {
	p := c.p
	src, dst := p.get("VDI", from), p.get("VDI", to)
	switch {
	case dst == nil:
		return "", fail("HANDLE_INVALID", "VDI", to)
	case dst.is("read_only"):
		return "", fail("VDI_READONLY", to)
	case dst.number("virtual_size") < src.number("virtual_size"):
		return "", fail("VDI_TOO_SMALL", to, strconv.FormatInt(src.number("virtual_size"), 10))
	}
	if err := p.allowVDI(to, "copy"); err != nil {
		return "", err
	}
	p.imports[to]++
	defer delete(p.imports, to)
	source, target := p.file(src), p.file(dst)
	if err := c.unlocked(func() error { return copyFile(source, target) }); err != nil {
		return "", internal("%v", err)
	}
	return to, nil
}

// copyVDI makes a disk with the content and the properties of another one, in
// the same storage repository unless sr is another.
func (c *call) copyVDI(from, sr, operation string) (string, error) {
	p := c.p
	src := p.get("VDI", from)
	if src == nil {
		return "", fail("HANDLE_INVALID", "VDI", from)
	}
	if _, own := src.dict("current_operations")[c.task]; !own {
		if err := p.allowVDI(from, operation); err != nil {
			return "", err
		}
		src.dict("current_operations")[c.task] = operation
		defer delete(src.dict("current_operations"), c.task)
	}
	rec := src.clone()
	rec["current_operations"], rec["read_only"] = map[string]any{}, false
	if sr != null {
		rec["SR"] = sr
	}
	to, err := p.makeVDI(rec)
	if err != nil {
		return "", err
	}
	source, target := p.file(src), p.file(p.get("VDI", to))
	p.imports[to]++
	err = c.unlocked(func() error { return copyFile(source, target) })
	delete(p.imports, to)
	if err != nil {
		p.removeVDI(to)
		return "", internal("%v", err)
	}
	return to, nil
}

// resizeVDI implements VDI.resize.
func resizeVDI(c *call) (any, error) {
	p, vdi := c.p, c.self()
	size := (c.number(1) + sizeStep - 1) / sizeStep * sizeStep
	before := vdi.number("virtual_size")
	if c.number(1) > maxSize || size < before {
		return nil, fail("SR_BACKEND_FAILURE_79", "", fmt.Sprintf("VDI Invalid size [opterr=cannot resize from %d to %d]", before, size), "")
	}
	if err := p.room(vdi.text("SR"), size-before); err != nil {
		return nil, err
	}
	if err := os.Truncate(p.file(vdi), size); err != nil {
		return nil, internal("%v", err)
	}
	vdi["virtual_size"], vdi["physical_utilisation"] = size, size
	return "", nil
}
