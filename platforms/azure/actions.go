package azure

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"imageport/platforms"
)

// place is what an action is needed on.
type place string

const (
	onGroup        place = "resource group of the CEs"
	onTarget       place = "resource group of output disks"
	onNetwork      place = "resource group of the network"
	onGallery      place = "resource group of the image"
	onSubscription place = "subscription"
)

// purpose is what an action is needed for.
type purpose string

const (
	forCE           purpose = "CE"            // every job
	forQuota        purpose = "quota"         // a check that is left out without
	forGallery      purpose = "gallery"       // the appliance is an image in a gallery
	forManagedImage purpose = "managed image" // it is a managed image
	forUpload       purpose = "VHD"           // it is uploaded to a gallery
	forOutputDisk   purpose = "reverseImage"  // an output disk
)

// actions is the complete list of what the driver needs: no call that it makes
// needs another. docs/azure-role.json grants it.
var actions = []struct {
	on  place
	use purpose
	id  string
	why string
}{
	{onSubscription, forQuota, "Microsoft.Compute/locations/usages/read", "see whether the quota has room for a CE"},
	{onSubscription, forQuota, "Microsoft.Compute/locations/vmSizes/read", "see whether the region has the size"},
	{onGroup, forCE, "Microsoft.Authorization/permissions/read", "say what is missing before a job begins"},
	{onGroup, forCE, "Microsoft.Compute/virtualMachines/read", "find CEs"},
	{onGroup, forCE, "Microsoft.Compute/virtualMachines/write", "make CEs, and give them their seeds"},
	{onGroup, forCE, "Microsoft.Compute/virtualMachines/delete", "remove CEs"},
	{onGroup, forCE, "Microsoft.Compute/virtualMachines/start/action", "start a CE again"},
	{onGroup, forCE, "Microsoft.Compute/virtualMachines/powerOff/action", "stop a CE that does not answer"},
	{onGroup, forCE, "Microsoft.Compute/disks/read", "find what CEs left"},
	{onGroup, forCE, "Microsoft.Compute/disks/write", "the disk of a CE"},
	{onGroup, forCE, "Microsoft.Compute/disks/delete", "remove what CEs left"},
	{onGroup, forCE, "Microsoft.Network/networkInterfaces/read", "find what CEs left"},
	{onGroup, forCE, "Microsoft.Network/networkInterfaces/write", "the network interface of a CE"},
	{onGroup, forCE, "Microsoft.Network/networkInterfaces/join/action", "the network interface of a CE"},
	{onGroup, forCE, "Microsoft.Network/networkInterfaces/delete", "remove what CEs left"},
	{onTarget, forCE, "Microsoft.Compute/disks/read", "find copies that did not come to their end"},
	{onNetwork, forCE, "Microsoft.Network/virtualNetworks/subnets/join/action", "connect CEs to the subnet"},
	{onGallery, forGallery, "Microsoft.Compute/galleries/images/versions/read", "make CEs from the appliance's image"},
	{onGallery, forManagedImage, "Microsoft.Compute/images/read", "make CEs from the appliance's image"},
	{onGallery, forUpload, "Microsoft.Compute/galleries/read", "find the gallery"},
	{onGallery, forUpload, "Microsoft.Compute/galleries/images/read", "find the image definition"},
	{onGallery, forUpload, "Microsoft.Compute/galleries/images/write", "make the image definition, the first time"},
	{onGallery, forUpload, "Microsoft.Compute/galleries/images/versions/write", "make a version of each appliance"},
	{onGallery, forUpload, "Microsoft.Compute/galleries/images/versions/delete", "remove a version that failed"},
	{onGroup, forUpload, "Microsoft.Compute/disks/beginGetAccess/action", "upload the appliance to a disk"},
	{onGroup, forUpload, "Microsoft.Compute/disks/endGetAccess/action", "end the upload"},
	{onGroup, forOutputDisk, "Microsoft.Compute/virtualMachines/attachDetachDataDisks/action", "attach the output disk, and detach it"},
	{onTarget, forOutputDisk, "Microsoft.Compute/disks/write", "the output disk under its name"},
	{onTarget, forOutputDisk, "Microsoft.Compute/disks/delete", "remove a copy that failed"},
}

// permissionsVersion is the version of the API for permissions.
const permissionsVersion = "2022-04-01"

// checkActions refuses a credential that lacks what these purposes need. What is
// missing is named all at once.
func (d *Driver) checkActions(ctx context.Context, purposes ...purpose) error {
	groups := map[place]string{onGroup: d.group, onTarget: d.target, onNetwork: d.networkGroup}
	if strings.EqualFold(d.p.source.subscription, d.subscription) {
		groups[onGallery] = d.p.source.group
	}
	granted := make(map[string]grants)
	var missing []string
	for _, a := range actions {
		group, ok := groups[a.on]
		if !ok || !slices.Contains(purposes, a.use) {
			continue
		}
		g, ok := granted[strings.ToLower(group)]
		if !ok {
			var err error
			if g, err = d.grants(ctx, group); err != nil {
				return fmt.Errorf("permissions in the resource group %s: %w", group, err)
			}
			granted[strings.ToLower(group)] = g
		}
		if !g.allow(a.id) {
			missing = append(missing, a.id+" in the "+string(a.on)+" "+group)
		}
	}
	if len(missing) > 0 {
		return platforms.Errorf(platforms.Denied, "the credential lacks %s", strings.Join(missing, "; "))
	}
	return nil
}

// grants are what the roles of a credential grant, each of them less what it
// takes out itself.
type grants []struct{ Actions, NotActions []string }

func (d *Driver) grants(ctx context.Context, group string) (grants, error) {
	next := d.manager.Endpoint() + "/subscriptions/" + d.subscription + "/resourceGroups/" + url.PathEscape(group) +
		"/providers/Microsoft.Authorization/permissions?api-version=" + permissionsVersion
	var all grants
	for next != "" {
		var page struct {
			Value    grants
			NextLink string
		}
		if err := d.get(ctx, next, &page); err != nil {
			return nil, err
		}
		all, next = append(all, page.Value...), page.NextLink
	}
	return all, nil
}

func (g grants) allow(action string) bool {
	for _, role := range g {
		covers := func(pattern string) bool { return covers(pattern, action) }
		if slices.ContainsFunc(role.Actions, covers) && !slices.ContainsFunc(role.NotActions, covers) {
			return true
		}
	}
	return false
}

// covers reports whether a pattern such as Microsoft.Compute/*/read, in which a
// star is any text, covers an action. Case is of no importance.
func covers(pattern, action string) bool {
	pattern, action = strings.ToLower(pattern), strings.ToLower(action)
	first, pattern, star := strings.Cut(pattern, "*")
	rest, ok := strings.CutPrefix(action, first)
	if !ok || !star {
		return ok && rest == ""
	}
	for {
		piece, after, more := strings.Cut(pattern, "*")
		if !more {
			return strings.HasSuffix(rest, piece)
		}
		_, tail, ok := strings.Cut(rest, piece)
		if !ok {
			return false
		}
		rest, pattern = tail, after
	}
}
