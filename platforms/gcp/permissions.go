package gcp

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/api/cloudresourcemanager/v1"

	"imageport/platforms"
)

// place of a permission: what it is needed on.
type grantedOn string

const (
	onProject grantedOn = "project"       // where the CEs are
	onSubnet  grantedOn = "subnetwork"    // of the request; with a shared VPC, the host project's
	onBucket  grantedOn = "bucket"        // of the worker's configuration
	onImage   grantedOn = "image project" // that of the image in the worker's configuration
)

// purpose is what a permission is needed for.
type purpose string

const (
	forCE         purpose = "CE"           // every job
	forAppliance  purpose = "tarball"      // the appliance is imported from its tarball
	forImage      purpose = "image"        // the appliance is an image that the configuration names
	forOutputDisk purpose = "reverseImage" // an output disk
)

// permissions is the complete list of what the driver needs: no call that it
// makes needs another. docs/gcp-role.yaml has those of the project, and
// docs/gcp-permissions.md prints it.
var permissions = []struct {
	on  grantedOn
	use purpose
	id  string
	why string
}{
	{onProject, forCE, "compute.instances.create", "make the CE"},
	{onProject, forCE, "compute.instances.delete", "remove the CE"},
	{onProject, forCE, "compute.instances.get", "find the CE"},
	{onProject, forCE, "compute.instances.list", "find what a job has left"},
	{onProject, forCE, "compute.instances.setLabels", "the CE's marks"},
	{onProject, forCE, "compute.instances.setMetadata", "the CE's marks and seed"},
	{onProject, forCE, "compute.instances.setTags", "its network tags"},
	{onProject, forCE, "compute.instances.start", "start the CE again"},
	{onProject, forCE, "compute.instances.stop", "stop the CE"},
	{onProject, forCE, "compute.disks.create", "the CE's own disk"},
	{onProject, forCE, "compute.disks.delete", "remove what is left of disks"},
	{onProject, forCE, "compute.disks.get", "find disks"},
	{onProject, forCE, "compute.disks.list", "find what a job has left"},
	{onProject, forCE, "compute.disks.setLabels", "the marks of disks"},
	{onProject, forCE, "compute.machineTypes.get", "check the machine type"},
	{onProject, forCE, "compute.zoneOperations.get", "wait for what was started"},
	{onSubnet, forCE, "compute.subnetworks.use", "connect the CE to the network"},
	{onProject, forAppliance, "compute.images.create", "import the appliance"},
	{onProject, forAppliance, "compute.images.delete", "remove an import that failed"},
	{onProject, forAppliance, "compute.images.get", "find the imported appliance"},
	{onProject, forAppliance, "compute.images.setLabels", "the image's mark"},
	{onProject, forAppliance, "compute.images.useReadOnly", "start CEs from it"},
	{onProject, forAppliance, "compute.globalOperations.get", "wait for the import"},
	{onBucket, forAppliance, "storage.objects.create", "upload the tarball"},
	{onBucket, forAppliance, "storage.objects.delete", "delete it when it was imported"},
	{onBucket, forAppliance, "storage.objects.get", "import it"},
	{onImage, forImage, "compute.images.get", "find the image"},
	{onImage, forImage, "compute.images.useReadOnly", "start CEs from it"},
	{onProject, forOutputDisk, "compute.disks.use", "attach and detach the output disk"},
	{onProject, forOutputDisk, "compute.disks.useReadOnly", "copy it to its name"},
	{onProject, forOutputDisk, "compute.instances.attachDisk", "attach the output disk"},
	{onProject, forOutputDisk, "compute.instances.detachDisk", "detach the complete output disk"},
}

// needed gives the permissions for these purposes on a place.
func needed(on grantedOn, uses []purpose) []string {
	var ids []string
	for _, p := range permissions {
		if p.on == on && slices.Contains(uses, p.use) && !slices.Contains(ids, p.id) {
			ids = append(ids, p.id)
		}
	}
	return ids
}

// checkPermissions refuses a credential that lacks what these purposes need. What
// is missing is named all at once.
func (d *Driver) checkPermissions(ctx context.Context, uses ...purpose) error {
	var missing []string
	for _, at := range []struct {
		on   grantedOn
		name string
		ask  func(context.Context, []string) ([]string, error)
	}{
		{onProject, d.place.project, d.onProject},
		{onSubnet, d.place.subnet.String(), d.onSubnet},
		{onBucket, d.p.cfg.Bucket, d.onBucket},
		{onImage, d.p.cfg.Image, d.onImage},
	} {
		want := needed(at.on, uses)
		if len(want) == 0 {
			continue
		}
		granted, err := at.ask(ctx, want)
		if err != nil {
			return fmt.Errorf("permissions on the %s %s: %w", at.on, at.name, err)
		}
		if lacks := slices.DeleteFunc(want, func(id string) bool { return slices.Contains(granted, id) }); len(lacks) > 0 {
			missing = append(missing, fmt.Sprintf("on the %s %s: %s", at.on, at.name, strings.Join(lacks, ", ")))
		}
	}
	if len(missing) > 0 {
		return platforms.Errorf(platforms.Denied, "the credential lacks permissions %s", strings.Join(missing, "; "))
	}
	return nil
}

// onProject gives which of the permissions are granted on the project. Where the
// API that knows is switched off, all are taken to be: the calls will tell.
func (d *Driver) onProject(ctx context.Context, ids []string) ([]string, error) {
	res, err := d.projects.Projects.TestIamPermissions(d.place.project, &cloudresourcemanager.TestIamPermissionsRequest{Permissions: ids}).Context(ctx).Do()
	if isHTTP(err, http.StatusForbidden, "accessNotConfigured", "SERVICE_DISABLED") {
		return ids, nil
	}
	if err != nil {
		return nil, err
	}
	return res.Permissions, nil
}

func (d *Driver) onSubnet(ctx context.Context, ids []string) ([]string, error) {
	res, err := d.subnets.TestIamPermissions(ctx, &computepb.TestIamPermissionsSubnetworkRequest{
		Project: d.place.subnet.project, Region: d.place.subnet.region, Resource: d.place.subnet.name,
		TestPermissionsRequestResource: &computepb.TestPermissionsRequest{Permissions: ids},
	})
	return res.GetPermissions(), err
}

func (d *Driver) onBucket(ctx context.Context, ids []string) ([]string, error) {
	res, err := d.storage.Buckets.TestIamPermissions(d.p.cfg.Bucket, ids).Context(ctx).Do()
	if err != nil {
		return nil, err
	}
	return res.Permissions, nil
}

// onImage asks of the image itself. A family has no permissions of its own: that
// its newest image can be read has to do.
func (d *Driver) onImage(ctx context.Context, ids []string) ([]string, error) {
	m := imagePattern.FindStringSubmatch(d.p.cfg.Image)
	name := m[3]
	if m[2] != "" {
		newest, err := d.images.GetFromFamily(ctx, &computepb.GetFromFamilyImageRequest{Project: m[1], Family: m[3]})
		if err != nil {
			return nil, err
		}
		name = newest.GetName()
	}
	res, err := d.images.TestIamPermissions(ctx, &computepb.TestIamPermissionsImageRequest{
		Project: m[1], Resource: name, TestPermissionsRequestResource: &computepb.TestPermissionsRequest{Permissions: ids},
	})
	return res.GetPermissions(), err
}
