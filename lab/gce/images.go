package gce

import (
	"os"
	"path/filepath"
	"regexp"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"
)

// image is an image with its file.
type image struct {
	*computepb.Image
	file string
}

var imagePath = regexp.MustCompile(`^projects/([^/]+)/global/images/(family/)?([^/]+)$`)

// findImage gives the image of a path. The caller holds the lock.
func (c *Cloud) findImage(path string) (*image, error) {
	m := imagePath.FindStringSubmatch(path)
	if m == nil || m[1] != c.cfg.Project {
		return nil, invalid("Invalid value for field 'sourceImage': '%s'", path)
	}
	found := c.images[m[3]]
	if m[2] != "" {
		found = c.newest(m[3])
	}
	if found == nil {
		return nil, notFound(path)
	}
	if found.GetStatus() != diskReady {
		return nil, notReady(path)
	}
	return found, nil
}

// newest gives the image of a family that was made last, nil if there is none. The
// caller holds the lock.
func (c *Cloud) newest(family string) *image {
	var found *image
	for _, i := range c.images {
		if i.GetFamily() == family && (found == nil || i.GetId() > found.GetId()) {
			found = i
		}
	}
	return found
}

func (c *Cloud) insertImage(r *request) (any, error) {
	m := &computepb.Image{}
	if err := r.decode(m); err != nil {
		return nil, err
	}
	if err := checkMarks(m.GetName(), m.Labels, m.GetDescription()); err != nil {
		return nil, err
	}
	path := c.path("global/images", m.GetName())
	if len(m.Labels) > 0 {
		if err := c.lacks(path, "compute.images.setLabels"); err != nil {
			return nil, err
		}
	}
	if c.images[m.GetName()] != nil {
		return nil, taken(path)
	}
	source, err := c.findObject(m.GetRawDisk().GetSource())
	if err != nil {
		return nil, err
	}
	return c.begin(r, m, source.file), nil
}

// begin begins to make an image of a tarball. The caller holds the lock.
func (c *Cloud) begin(r *request, m *computepb.Image, tarball string) *computepb.Operation {
	made := c.newImage(m)
	return c.start(r, "insert", made.GetId(), made.GetSelfLink(), func() error {
		size, err := unpack(made.file, tarball)
		if err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		made.DiskSizeGb = proto.Int64(size / gib)
		return nil
	}, func(failed *Fault) {
		if failed != nil {
			c.dropImage(made)
			return
		}
		made.Status = proto.String(diskReady)
	})
}

// newImage is an image that is being made. The caller holds the lock.
func (c *Cloud) newImage(m *computepb.Image) *image {
	m.Id, m.CreationTimestamp, m.Status = proto.Uint64(c.newID()), proto.String(c.birth()), proto.String("PENDING")
	m.SelfLink = proto.String("https://www.googleapis.com/compute/v1/" + c.path("global/images", m.GetName()))
	made := &image{Image: m, file: filepath.Join(c.cfg.Dir, "images", m.GetName()+".raw")}
	c.images[m.GetName()] = made
	return made
}

// dropImage removes an image with its file. The caller holds the lock.
func (c *Cloud) dropImage(i *image) {
	delete(c.images, i.GetName())
	_ = os.Remove(i.file) // it may not have come so far
}

func (c *Cloud) getImage(r *request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.images[r.Name]; i != nil {
		return proto.Clone(i.Image), nil
	}
	return nil, notFound(c.path("global/images", r.Name))
}

func (c *Cloud) getFromFamily(r *request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.newest(r.Name); i != nil {
		return proto.Clone(i.Image), nil
	}
	return nil, notFound(c.path("global/images/family", r.Name))
}

func (c *Cloud) deleteImage(r *request) (any, error) {
	i := c.images[r.Name]
	if i == nil {
		return nil, notFound(c.path("global/images", r.Name))
	}
	return c.start(r, "delete", i.GetId(), i.GetSelfLink(), func() error { return nil }, func(failed *Fault) {
		if failed == nil && c.images[r.Name] == i {
			c.dropImage(i)
		}
	}), nil
}

// MakeImage makes an image, of a family if that is not "", of a tarball, as an
// administrator may.
func (c *Cloud) MakeImage(name, family, tarball string) error {
	c.mu.Lock()
	m := &computepb.Image{Name: proto.String(name), GuestOsFeatures: []*computepb.GuestOsFeature{{Type: proto.String("UEFI_COMPATIBLE")}}}
	if family != "" {
		m.Family = proto.String(family)
	}
	made := c.newImage(m)
	c.mu.Unlock()
	size, err := unpack(made.file, tarball)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.dropImage(made)
		return err
	}
	made.DiskSizeGb, made.Status = proto.Int64(size/gib), proto.String(diskReady)
	return nil
}

// RemoveImage removes an image, as an administrator may.
func (c *Cloud) RemoveImage(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.images[name]; i != nil {
		c.dropImage(i)
	}
}

// SetImageStatus makes an image be in that state, as by an accident that is not
// simulated.
func (c *Cloud) SetImageStatus(name, status string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.images[name]; i != nil {
		i.Status = proto.String(status)
	}
}

// testImage, testSubnetwork, testProject and testBucket tell which permissions the
// account has.
func (c *Cloud) testImage(r *request) (any, error) {
	c.mu.Lock()
	known := c.images[r.Name] != nil
	c.mu.Unlock()
	if !known {
		return nil, notFound(c.path("global/images", r.Name))
	}
	return c.test(r)
}

func (c *Cloud) testSubnetwork(r *request) (any, error) {
	if r.Name != c.cfg.Subnetwork {
		return nil, notFound(c.path("regions", c.region, "subnetworks", r.Name))
	}
	return c.test(r)
}

func (c *Cloud) test(r *request) (any, error) {
	asked := &computepb.TestPermissionsRequest{}
	if err := r.decode(asked); err != nil {
		return nil, err
	}
	return &computepb.TestPermissionsResponse{Permissions: c.granted(asked.Permissions)}, nil
}

func (c *Cloud) testProject(r *request) (any, error) {
	asked := &computepb.TestPermissionsRequest{} // the message has the same shape
	if err := r.decode(asked); err != nil {
		return nil, err
	}
	return map[string]any{"permissions": c.granted(asked.Permissions)}, nil
}

func (c *Cloud) testBucket(r *request) (any, error) {
	return map[string]any{"kind": "storage#testIamPermissionsResponse", "permissions": c.granted(r.raw.URL.Query()["permissions"])}, nil
}
