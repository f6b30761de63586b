package azure

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// imageVersion is a version of an image in the gallery, guarded by the Cloud's mu.
type imageVersion struct {
	id, image, name string
	tags            map[string]*string
	state           string
	file            string
	size            int64
	regions         []string
}

func getGallery(group, name string) (armcompute.Gallery, *Fault) {
	if !isGallery(group, name) {
		return armcompute.Gallery{}, notFound("Microsoft.Compute/galleries", name)
	}
	return armcompute.Gallery{ID: to.Ptr(GalleryID()), Name: to.Ptr(Gallery), Location: to.Ptr(Region)}, nil
}

func isGallery(group, name string) bool {
	return strings.EqualFold(group, GalleryGroup) && strings.EqualFold(name, Gallery)
}

func (c *Cloud) getDefinition(group, gallery, name string) (armcompute.GalleryImage, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !isGallery(group, gallery) || !c.definition[strings.ToLower(name)] {
		return armcompute.GalleryImage{}, notFound("Microsoft.Compute/galleries/images", name)
	}
	return describeDefinition(name), nil
}

func describeDefinition(name string) armcompute.GalleryImage {
	return armcompute.GalleryImage{
		ID: to.Ptr(GalleryID() + "/images/" + name), Name: to.Ptr(name), Location: to.Ptr(Region),
		Properties: &armcompute.GalleryImageProperties{
			OSState: to.Ptr(armcompute.OperatingSystemStateTypesSpecialized), HyperVGeneration: to.Ptr(armcompute.HyperVGenerationV2),
			ProvisioningState: to.Ptr(armcompute.GalleryProvisioningStateSucceeded),
		},
	}
}

func (c *Cloud) createDefinition(group, gallery, name string, want armcompute.GalleryImage) (armcompute.GalleryImage, *operation, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := want.Properties
	switch {
	case !isGallery(group, gallery):
		return armcompute.GalleryImage{}, nil, notFound("Microsoft.Compute/galleries", gallery)
	case want.Location == nil || p == nil || p.Identifier == nil || p.OSState == nil || p.OSType == nil:
		return armcompute.GalleryImage{}, nil, refusal(400, "InvalidParameter", "Required parameter 'identifier', 'osState' or 'osType' is missing.")
	case *p.OSState != armcompute.OperatingSystemStateTypesSpecialized || p.HyperVGeneration == nil || *p.HyperVGeneration != armcompute.HyperVGenerationV2:
		return armcompute.GalleryImage{}, nil, refusal(400, "InvalidParameter", "Only specialized images of generation 2 are simulated.")
	}
	op := c.begin("GalleryImagesClient.BeginCreateOrUpdate", func(*operation) *Fault {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.definition[strings.ToLower(name)] = true
		return nil
	})
	made := describeDefinition(name)
	made.Properties.ProvisioningState = to.Ptr(armcompute.GalleryProvisioningStateCreating)
	return made, op, nil
}

func versionID(image, name string) string {
	return GalleryID() + "/images/" + image + "/versions/" + name
}

func (c *Cloud) getVersion(group, gallery, image, name string) (armcompute.GalleryImageVersion, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.images[strings.ToLower(versionID(image, name))]
	if !isGallery(group, gallery) || v == nil {
		return armcompute.GalleryImageVersion{}, notFound("Microsoft.Compute/galleries/images/versions", name)
	}
	return v.describe(), nil
}

func (v *imageVersion) describe() armcompute.GalleryImageVersion {
	told := armcompute.GalleryImageVersion{
		ID: to.Ptr(v.id), Name: to.Ptr(v.name), Location: to.Ptr(Region), Tags: maps.Clone(v.tags),
		Properties: &armcompute.GalleryImageVersionProperties{
			ProvisioningState: to.Ptr(armcompute.GalleryProvisioningState(v.state)),
			PublishingProfile: &armcompute.GalleryImageVersionPublishingProfile{},
			StorageProfile:    &armcompute.GalleryImageVersionStorageProfile{},
		},
	}
	for _, r := range v.regions {
		told.Properties.PublishingProfile.TargetRegions = append(told.Properties.PublishingProfile.TargetRegions, &armcompute.TargetRegion{Name: to.Ptr(r)})
	}
	return told
}

var versionName = regexp.MustCompile(`^[0-9]{1,10}\.[0-9]{1,10}\.[0-9]{1,10}$`)

func (c *Cloud) createVersion(group, gallery, image, name string, want armcompute.GalleryImageVersion) (armcompute.GalleryImageVersion, *operation, *Fault) {
	const call = "GalleryImageVersionsClient.BeginCreateOrUpdate"
	c.mu.Lock()
	defer c.mu.Unlock()
	var regions []string
	source := ""
	if p := want.Properties; p != nil {
		if p.PublishingProfile != nil {
			for _, r := range p.PublishingProfile.TargetRegions {
				if r != nil && r.Name != nil {
					regions = append(regions, *r.Name)
				}
			}
		}
		if p.StorageProfile != nil && p.StorageProfile.OSDiskImage != nil && p.StorageProfile.OSDiskImage.Source != nil && p.StorageProfile.OSDiskImage.Source.ID != nil {
			source = *p.StorageProfile.OSDiskImage.Source.ID
		}
	}
	id := versionID(image, name)
	there := c.images[strings.ToLower(id)]
	switch {
	case !isGallery(group, gallery) || !c.definition[strings.ToLower(image)]:
		return armcompute.GalleryImageVersion{}, nil, notFound("Microsoft.Compute/galleries/images", image)
	case !versionName.MatchString(name) || len(regions) == 0:
		return armcompute.GalleryImageVersion{}, nil, refusal(400, "InvalidParameter", "The version %s or its target regions are invalid.", name)
	case there != nil:
		return armcompute.GalleryImageVersion{}, nil, errConflict
	case !c.allowed("Microsoft.Compute/disks/beginGetAccess/action"):
		return armcompute.GalleryImageVersion{}, nil, denied("Microsoft.Compute/disks/beginGetAccess/action", source)
	}
	var from *disk
	for _, d := range c.disks {
		if strings.EqualFold(d.id(), source) {
			from = d
		}
	}
	if from == nil || !from.uploaded || !isVHD(from.file, from.size) {
		return armcompute.GalleryImageVersion{}, nil, refusal(400, "InvalidParameter", "The source %s is no disk that is complete.", source)
	}
	v := &imageVersion{id: id, image: image, name: name, tags: maps.Clone(want.Tags), state: stateCreating, size: from.size - footerSize, regions: regions}
	v.file, _ = c.fileOf("image")
	c.images[strings.ToLower(id)] = v
	from.readers++
	op := c.begin(call, func(*operation) *Fault {
		c.mu.Lock()
		f := c.take(call, true)
		c.mu.Unlock()
		if f == nil {
			if err := copyFile(v.file, from.file, v.size); err != nil {
				f = refusal(500, "InternalServerError", "%v", err)
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		from.readers--
		v.state = stateSucceeded
		if f != nil {
			v.state = stateFailed
		}
		return f
	})
	return v.describe(), op, nil
}

func (c *Cloud) deleteVersion(group, gallery, image, name string) (*operation, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := strings.ToLower(versionID(image, name))
	v := c.images[id]
	switch {
	case !isGallery(group, gallery) || v == nil:
		return nil, nil
	case v.state == stateCreating:
		return nil, errConflict
	}
	return c.begin("GalleryImageVersionsClient.BeginDelete", func(*operation) *Fault {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.images[id] == v {
			delete(c.images, id)
			_ = os.Remove(v.file) // of a version that failed there may be none
		}
		return nil
	}), nil
}

// AddImage makes a version of an image in the gallery from a raw file, and gives
// its id.
func (c *Cloud) AddImage(file string) (string, error) {
	const image, name = "given", "1.0.0"
	c.mu.Lock()
	defer c.mu.Unlock()
	c.definition[image] = true
	return c.addImage(&imageVersion{id: versionID(image, name), image: image, name: name}, file)
}

// AddManagedImage makes a managed image of that name from a raw file, and gives
// its id.
func (c *Cloud) AddManagedImage(name, file string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addImage(&imageVersion{id: resourceID(GalleryGroup, "images", name), name: name}, file)
}

func (c *Cloud) addImage(v *imageVersion, file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	v.state, v.size, v.regions = stateSucceeded, info.Size(), []string{Region}
	v.file, _ = c.fileOf("image")
	if err := copyFile(v.file, file, v.size); err != nil {
		return "", err
	}
	c.images[strings.ToLower(v.id)] = v
	return v.id, nil
}

func (c *Cloud) getManagedImage(group, name string) (armcompute.Image, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.images[strings.ToLower(resourceID(group, "images", name))]
	if v == nil {
		return armcompute.Image{}, notFound("Microsoft.Compute/images", name)
	}
	return armcompute.Image{ID: to.Ptr(v.id), Name: to.Ptr(v.name), Location: to.Ptr(Region)}, nil
}

// RemoveImages empties the gallery.
func (c *Cloud) RemoveImages() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range slices.Collect(maps.Keys(c.images)) {
		_ = os.Remove(c.images[id].file)
		delete(c.images, id)
	}
	clear(c.definition)
}
