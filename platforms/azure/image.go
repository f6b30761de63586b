package azure

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"imageport/platforms"
)

// imageName is the name of our image definition in a gallery.
const imageName = "imageport-ce"

// imageSource is where images of the appliance come from: a gallery that they
// are put into, or the one image that there is.
type imageSource struct {
	subscription, group string
	gallery             string // "" of a managed image
	image, version      string // "" of a gallery
}

// parseSource reads the resource id of a gallery, or of an image.
func parseSource(id string, gallery bool) (imageSource, error) {
	r, err := arm.ParseResourceID(id)
	if err != nil {
		return imageSource{}, err
	}
	s := imageSource{subscription: r.SubscriptionID, group: r.ResourceGroupName}
	switch kind := strings.ToLower(r.ResourceType.String()); {
	case gallery && kind == "microsoft.compute/galleries":
		s.gallery = r.Name
	case !gallery && kind == "microsoft.compute/galleries/images/versions":
		s.gallery, s.image, s.version = r.Parent.Parent.Name, r.Parent.Name, r.Name
	case !gallery && kind == "microsoft.compute/images":
		s.image = r.Name
	case gallery:
		return imageSource{}, fmt.Errorf("gallery: %s is a %s, want /subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/galleries/…", id, r.ResourceType)
	default:
		return imageSource{}, fmt.Errorf("image: %s is a %s, want a version of an image in a gallery, or a managed image", id, r.ResourceType)
	}
	return s, nil
}

// versionName gives the name of the version that is made from the VHD with that
// digest. It has to be three numbers of 31 bits; the whole digest is a tag.
func versionName(digest [sha256.Size]byte) string {
	number := func(at int) uint32 { return binary.BigEndian.Uint32(digest[at:]) >> 1 }
	return fmt.Sprintf("%d.%d.%d", number(0), number(4), number(8))
}

// image gives the id of the image of the appliance, and makes it if there is
// none.
func (d *Driver) image(ctx context.Context, ce platforms.Spec) (string, error) {
	if d.p.cfg.Image != "" {
		return d.p.cfg.Image, nil
	}
	if err := d.sameSubscription(); err != nil {
		return "", err
	}
	vhd, err := d.p.vhd.Read(ctx)
	if err != nil {
		return "", err
	}
	name := versionName(vhd.digest)
	release, err := d.p.uploads.Take(ctx, name)
	if err != nil {
		return "", err
	}
	defer release()
	var id string
	uploaded := false
	err = d.patiently(ctx, func() (bool, error) {
		v, err := d.awaitVersion(ctx, name)
		switch {
		case err != nil:
			return false, err
		case v == nil:
			uploaded = true
			return false, d.makeVersion(ctx, ce, vhd, name)
		case tags(v.Tags).get(tagDigest) != hex.EncodeToString(vhd.digest[:]):
			return false, platforms.Errorf(platforms.Foreign, "the image %s was made from something else", text(v.ID))
		case stateOf(v) == stateFailed:
			return false, d.deleteVersion(ctx, name)
		case !inRegion(v, d.region):
			return false, platforms.Errorf(platforms.BadRequest, "the image %s is not in the region %s: add that to the version's target regions, or give this worker a gallery there", text(v.ID), d.region)
		}
		id = text(v.ID)
		return true, nil
	})
	if err == nil && uploaded {
		err = d.deleteDisk(ctx, d.group, uploadName(ce)) // also that of who came second
	}
	if err != nil {
		return "", fmt.Errorf("image of the appliance, version %s: %w", name, err)
	}
	return id, nil
}

// sameSubscription refuses a gallery that the driver's clients are not for.
func (d *Driver) sameSubscription() error {
	if !strings.EqualFold(d.p.source.subscription, d.subscription) {
		return platforms.Errorf(platforms.BadRequest, "the gallery of the worker's configuration is in the subscription %s, the CE is to be in %s: configure an image that is shared with it", d.p.source.subscription, d.subscription)
	}
	return nil
}

// awaitVersion gives the version of that name when nothing is under way with it,
// or nil.
func (d *Driver) awaitVersion(ctx context.Context, name string) (*armcompute.GalleryImageVersion, error) {
	g := d.p.source
	for pause := d.pauses; ; {
		res, err := d.versions.Get(ctx, g.group, g.gallery, imageName, name, nil)
		if missing(err) && codeOf(err) != "ResourceGroupNotFound" {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if !underWay(stateOf(&res.GalleryImageVersion)) {
			return &res.GalleryImageVersion, nil
		}
		if err := pause.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

func stateOf(v *armcompute.GalleryImageVersion) string {
	if v.Properties == nil || v.Properties.ProvisioningState == nil {
		return ""
	}
	return string(*v.Properties.ProvisioningState)
}

func inRegion(v *armcompute.GalleryImageVersion, name string) bool {
	return v.Properties != nil && v.Properties.PublishingProfile != nil &&
		slices.ContainsFunc(v.Properties.PublishingProfile.TargetRegions, func(t *armcompute.TargetRegion) bool {
			return t != nil && region(text(t.Name)) == name
		})
}

// makeVersion makes the version from a disk that the VHD is uploaded to, which
// goes with the CE if nobody deletes it before.
func (d *Driver) makeVersion(ctx context.Context, ce platforms.Spec, vhd vhdContent, name string) error {
	g := d.p.source
	if err := d.makeDefinition(ctx); err != nil {
		return fmt.Errorf("image definition %s: %w", imageName, err)
	}
	source, err := d.upload(ctx, ce, vhd, uploadName(ce))
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	t := tags{}
	t.put(tagDigest, hex.EncodeToString(vhd.digest[:]))
	_, err = perform(ctx, d, func(ctx context.Context) (*runtime.Poller[armcompute.GalleryImageVersionsClientCreateOrUpdateResponse], error) {
		return d.versions.BeginCreateOrUpdate(ctx, g.group, g.gallery, imageName, name, armcompute.GalleryImageVersion{
			Location: &d.region, Tags: t,
			Properties: &armcompute.GalleryImageVersionProperties{
				StorageProfile: &armcompute.GalleryImageVersionStorageProfile{
					OSDiskImage: &armcompute.GalleryOSDiskImage{Source: &armcompute.GalleryDiskImageSource{ID: &source}},
				},
				PublishingProfile: &armcompute.GalleryImageVersionPublishingProfile{
					ExcludeFromLatest: to.Ptr(true), // its number says nothing of its age
					TargetRegions: []*armcompute.TargetRegion{{
						Name: &d.region, RegionalReplicaCount: to.Ptr[int32](1), StorageAccountType: to.Ptr(armcompute.StorageAccountTypeStandardLRS),
					}},
				},
			},
		}, nil)
	})
	if err == nil {
		return nil
	}
	if codeOf(err) == "InvalidParameter" {
		// The disk was complete a moment ago: somebody who makes the same CE has
		// deleted it, or uploads to it anew.
		err = contended(err)
	}
	return fmt.Errorf("make the version: %w", err)
}

// uploadName is the name of the disk that a CE's worker uploads the appliance to.
func uploadName(ce platforms.Spec) string { return ce.Name + "-upload" }

// makeDefinition makes the image that the versions are of. It is a specialized
// one: no agent of Azure's is in it that could make it another machine.
func (d *Driver) makeDefinition(ctx context.Context) error {
	g := d.p.source
	_, err := d.definitions.Get(ctx, g.group, g.gallery, imageName, nil)
	if err == nil || !missing(err) {
		return err
	}
	res, err := d.galleries.Get(ctx, g.group, g.gallery, nil)
	if missing(err) {
		return platforms.Errorf(platforms.NotFound, "gallery %s in %s: %w", g.gallery, g.group, err)
	}
	if err != nil {
		return fmt.Errorf("gallery %s: %w", g.gallery, err)
	}
	_, err = perform(ctx, d, func(ctx context.Context) (*runtime.Poller[armcompute.GalleryImagesClientCreateOrUpdateResponse], error) {
		return d.definitions.BeginCreateOrUpdate(ctx, g.group, g.gallery, imageName, armcompute.GalleryImage{
			Location: res.Location,
			Properties: &armcompute.GalleryImageProperties{
				Identifier: &armcompute.GalleryImageIdentifier{Publisher: to.Ptr("imageport"), Offer: to.Ptr("ce"), SKU: to.Ptr("gen2")},
				OSType:     to.Ptr(armcompute.OperatingSystemTypesLinux), OSState: to.Ptr(armcompute.OperatingSystemStateTypesSpecialized),
				HyperVGeneration: to.Ptr(armcompute.HyperVGenerationV2), Architecture: to.Ptr(armcompute.ArchitectureX64),
				Description: to.Ptr("Compositing Engine of imageport"),
			},
		}, nil)
	})
	return err
}

func (d *Driver) deleteVersion(ctx context.Context, name string) error {
	g := d.p.source
	_, err := perform(ctx, d, func(ctx context.Context) (*runtime.Poller[armcompute.GalleryImageVersionsClientDeleteResponse], error) {
		return d.versions.BeginDelete(ctx, g.group, g.gallery, imageName, name, nil)
	})
	if missing(err) {
		return nil
	}
	return err
}

// checkImage refuses an image that is not there, or a gallery that is not where
// the appliance is to become one.
func (d *Driver) checkImage(ctx context.Context) error {
	if d.p.cfg.Image == "" {
		if err := d.sameSubscription(); err != nil {
			return err
		}
		if _, err := d.p.vhd.Read(ctx); err != nil {
			return err
		}
		g := d.p.source
		if _, err := d.galleries.Get(ctx, g.group, g.gallery, nil); err != nil {
			return fmt.Errorf("gallery %s in %s: %w", g.gallery, g.group, err)
		}
		return nil
	}
	i := d.p.source
	if !strings.EqualFold(i.subscription, d.subscription) {
		return nil // shared with this one: only the VM that is made of it can tell
	}
	var err error
	if i.gallery == "" {
		_, err = d.images.Get(ctx, i.group, i.image, nil)
	} else {
		var res armcompute.GalleryImageVersionsClientGetResponse
		res, err = d.versions.Get(ctx, i.group, i.gallery, i.image, i.version, nil)
		if err == nil && !inRegion(&res.GalleryImageVersion, d.region) {
			err = platforms.Errorf(platforms.BadRequest, "it is not in the region %s", d.region)
		}
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", d.p.cfg.Image, err)
	}
	return nil
}
