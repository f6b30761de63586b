package gce

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"
)

const (
	gib = 1 << 30
	// diskReady is the state of a disk that can be used; while its content is being
	// copied it is diskCreating.
	diskReady, diskCreating = "READY", "CREATING"
	maxDiskGB               = 65536
)

// disk is a disk with its file.
type disk struct {
	*computepb.Disk
	file   string
	hidden bool // its name is taken, and nothing of it shows yet
	busy   bool // it is being attached
	copies int  // disks that are being made from it
}

func (d *disk) sizeBytes() int64 { return d.GetSizeGb() * gib }

// newDisk is a disk that is being made. The caller holds the lock.
func (c *Cloud) newDisk(zone string, d *computepb.Disk) *disk {
	d.Id, d.CreationTimestamp, d.Status = proto.Uint64(c.newID()), proto.String(c.birth()), proto.String(diskCreating)
	d.Zone, d.SelfLink = proto.String(c.path("zones", zone)), proto.String(c.link(zone, "disks", d.GetName()))
	return &disk{Disk: d, file: filepath.Join(c.cfg.Dir, "disks", zone, strconv.FormatUint(d.GetId(), 10)+".raw")}
}

// dropDisk removes a disk with its file. The caller holds the lock.
func (c *Cloud) dropDisk(d *disk) {
	delete(c.disks, place{last(d.GetZone()), d.GetName()})
	_ = os.Remove(d.file) // it may not have come so far
}

func (c *Cloud) insertDisk(r *request) (any, error) {
	d := &computepb.Disk{}
	if err := r.decode(d); err != nil {
		return nil, err
	}
	if err := checkMarks(d.GetName(), d.Labels, d.GetDescription()); err != nil {
		return nil, err
	}
	path := c.path("zones", r.Zone, "disks", d.GetName())
	if len(d.Labels) > 0 {
		if err := c.lacks(path, "compute.disks.setLabels"); err != nil {
			return nil, err
		}
	}
	if c.disks[place{r.Zone, d.GetName()}] != nil {
		return nil, taken(path)
	}
	source, err := c.source(r.Zone, d)
	if err != nil {
		return nil, err
	}
	if n := d.GetSizeGb(); n < 1 || n > maxDiskGB {
		return nil, invalid("Invalid value for field 'resource.sizeGb': '%d'", n)
	}
	if !strings.HasPrefix(d.GetType(), c.path("zones", r.Zone, "diskTypes/pd-")) {
		return nil, invalid("Invalid value for field 'resource.type': '%s'", d.GetType())
	}
	made := c.newDisk(r.Zone, d)
	made.hidden = c.faults.delays[r.Method] > 0 && source == nil
	c.disks[place{r.Zone, d.GetName()}] = made
	return c.start(r, "insert", made.GetId(), made.GetSelfLink(), func() error {
		from := ""
		if source != nil {
			from = source.file
		}
		return copyFile(made.file, from, made.sizeBytes())
	}, func(failed *Fault) {
		if source != nil {
			source.copies--
		}
		if made.hidden = false; failed != nil {
			c.dropDisk(made)
			return
		}
		made.Status = proto.String(diskReady)
	}), nil
}

// source gives the disk that a new one is to be a copy of, nil if it is to be empty.
// The copy holds it until it is done. The caller holds the lock.
func (c *Cloud) source(zone string, d *computepb.Disk) (*disk, error) {
	if d.SourceDisk == nil {
		return nil, nil
	}
	from := c.disks[place{zone, last(d.GetSourceDisk())}]
	path := c.path("zones", zone, "disks", last(d.GetSourceDisk()))
	switch {
	case d.GetSourceDisk() != path:
		return nil, invalid("Invalid value for field 'resource.sourceDisk': '%s'", d.GetSourceDisk())
	case from == nil || from.hidden:
		return nil, notFound(path)
	case from.GetStatus() != diskReady:
		return nil, notReady(path)
	}
	if err := c.lacks(path, "compute.disks.useReadOnly"); err != nil {
		return nil, err
	}
	if d.SizeGb == nil {
		d.SizeGb = from.SizeGb
	}
	if d.GetSizeGb() < from.GetSizeGb() {
		return nil, invalid("Invalid value for field 'resource.sizeGb': smaller than the source")
	}
	d.SourceDiskId = proto.String(strconv.FormatUint(from.GetId(), 10))
	from.copies++
	return from, nil
}

func (c *Cloud) getDisk(r *request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.disks[place{r.Zone, r.Name}]
	if d == nil || d.hidden {
		return nil, notFound(c.path("zones", r.Zone, "disks", r.Name))
	}
	return proto.Clone(d.Disk), nil
}

func (c *Cloud) listDisks(r *request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	names, next, err := page(r, c.cfg.PageSize, c.disks, func(d *disk) (map[string]string, bool) { return d.Labels, !d.hidden })
	if err != nil {
		return nil, err
	}
	list := &computepb.DiskList{NextPageToken: next}
	for _, at := range names {
		list.Items = append(list.Items, proto.Clone(c.disks[at].Disk).(*computepb.Disk))
	}
	return list, nil
}

func (c *Cloud) deleteDisk(r *request) (any, error) {
	d := c.disks[place{r.Zone, r.Name}]
	path := c.path("zones", r.Zone, "disks", r.Name)
	switch {
	case d == nil || d.hidden:
		return nil, notFound(path)
	case len(d.Users) > 0:
		return nil, inUse(path, d.Users[0])
	case d.GetStatus() == diskCreating || d.busy:
		return nil, notReady(path)
	case d.copies > 0:
		return nil, inUse(path, "a disk that is made from it")
	}
	d.busy = true
	return c.start(r, "delete", d.GetId(), d.GetSelfLink(), func() error { return nil }, func(failed *Fault) {
		if d.busy = false; failed == nil {
			c.dropDisk(d)
		}
	}), nil
}

// MakeDisk makes a disk that is nobody's, as somebody may.
func (c *Cloud) MakeDisk(zone, name string, sizeBytes int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.hasZone(zone) || c.disks[place{zone, name}] != nil {
		return fmt.Errorf("gce: disk %s in %s: there is one, or no such zone", name, zone)
	}
	d := c.newDisk(zone, &computepb.Disk{Name: proto.String(name), SizeGb: proto.Int64((sizeBytes + gib - 1) / gib)})
	d.Status = proto.String(diskReady)
	c.disks[place{zone, name}] = d
	return copyFile(d.file, "", d.sizeBytes())
}

// RemoveDisk removes a disk, as its owner may.
func (c *Cloud) RemoveDisk(zone, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.disks[place{zone, name}]; d != nil {
		c.dropDisk(d)
	}
}

// MakeInstance makes an instance that is nobody's, as somebody may. It has no disk
// and no guest.
func (c *Cloud) MakeInstance(zone, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.hasZone(zone) || c.instances[place{zone, name}] != nil {
		return fmt.Errorf("gce: instance %s in %s: there is one, or no such zone", name, zone)
	}
	c.instances[place{zone, name}] = &instance{Instance: &computepb.Instance{
		Id: proto.Uint64(c.newID()), Name: proto.String(name), CreationTimestamp: proto.String(c.birth()), Status: proto.String(running),
		Zone: proto.String(c.path("zones", zone)), SelfLink: proto.String(c.link(zone, "instances", name)), Metadata: &computepb.Metadata{},
	}}
	return nil
}
