package gcp

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"imageport/job"
	"imageport/platforms"
)

var (
	// namePattern is what names of resources are made of (RFC 1035).
	namePattern = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
	// projectPattern also takes the ids of projects that have a domain before a colon.
	projectPattern = regexp.MustCompile(`^([a-z0-9.-]{1,63}:)?[a-z][-a-z0-9]{4,61}[a-z0-9]$`)
	zonePattern    = regexp.MustCompile(`^([a-z]+-[a-z]+[0-9]+)-[a-z]$`)
	imagePattern   = regexp.MustCompile(`^projects/([a-z0-9.:-]+)/global/images/(family/)?([a-z][-a-z0-9]{0,62})$`)
	networkPattern = regexp.MustCompile(`^projects/([a-z0-9.:-]+)/global/networks/([a-z][-a-z0-9]{0,62})$`)
	subnetPattern  = regexp.MustCompile(`^projects/([a-z0-9.:-]+)/regions/([a-z0-9-]+)/subnetworks/([a-z][-a-z0-9]{0,62})$`)
)

// maxZones is more than any region has.
const maxZones = 16

// place is where a request wants its CE.
type place struct {
	project string
	region  string
	zones   []string // at least one, of the region, in the order to try them
	network string   // "projects/P/global/networks/N"
	subnet  subnet
	machine string   // machine type
	tags    []string // network tags
	address string   // the CE's own, "" if it gets one
}

// subnet is a subnetwork, which with a shared VPC is another project's.
type subnet struct{ project, region, name string }

func (s subnet) String() string {
	return fmt.Sprintf("projects/%s/regions/%s/subnetworks/%s", s.project, s.region, s.name)
}

// place checks what the request says of GCP.
func (p *Platform) place(where job.Target, project string) (place, error) {
	g := where.GCP
	refuse := func(format string, args ...any) (place, error) {
		return place{}, platforms.Errorf(platforms.BadRequest, "GCP: "+format, args...)
	}
	for _, need := range []struct{ field, value string }{
		{"gcpZone", g.GCPZone}, {"vpcNetworkName", g.VPCNetworkName}, {"vpcNetworkSubnetName", g.VPCNetworkSubnetName},
		{"gcpProject, and the credential has no project", project},
	} {
		if need.value == "" {
			return refuse("the request has no %s", need.field)
		}
	}
	if !projectPattern.MatchString(project) {
		return refuse("project %q: want a project's id", project)
	}
	at := place{project: project, machine: cmp.Or(g.GCPMachineType, p.cfg.MachineType), tags: g.GCPNetworkTags.List()}
	for _, zone := range append([]string{g.GCPZone}, g.GCPZones.List()...) {
		m := zonePattern.FindStringSubmatch(zone)
		if m == nil {
			return refuse("zone %q: want one such as europe-west3-a", zone)
		}
		at.region = cmp.Or(at.region, m[1])
		if m[1] != at.region {
			return refuse("zones %s and %s: they must be of one region, because a subnetwork is", g.GCPZone, zone)
		}
		if !slices.Contains(at.zones, zone) {
			at.zones = append(at.zones, zone)
		}
	}
	if len(at.zones) > maxZones {
		return refuse("%d zones: want %d at most", len(at.zones), maxZones)
	}
	if !namePattern.MatchString(at.machine) {
		return refuse("gcpMachineType %q: want one such as %s", at.machine, defaultMachineType)
	}
	for _, tag := range at.tags {
		if !namePattern.MatchString(tag) {
			return refuse("gcpNetworkTags: %q is none", tag)
		}
	}
	if where.CENetwork != nil {
		prefix, err := netip.ParsePrefix(where.CENetwork.Address)
		if err != nil {
			return refuse("ceNetwork: address %q", where.CENetwork.Address)
		}
		at.address = prefix.Addr().String()
	}
	if err := at.setNetwork(g.VPCNetworkName, g.VPCNetworkSubnetName); err != nil {
		return refuse("%w", err)
	}
	return at, nil
}

// setNetwork takes names, and with a shared VPC the full path of the subnetwork;
// the network's name then is of that same project.
func (at *place) setNetwork(network, subnetwork string) error {
	at.subnet = subnet{at.project, at.region, subnetwork}
	if strings.Contains(subnetwork, "/") {
		m := subnetPattern.FindStringSubmatch(subnetwork)
		if m == nil {
			return fmt.Errorf("vpcNetworkSubnetName %q: want a name, or projects/HOST/regions/REGION/subnetworks/NAME", subnetwork)
		}
		at.subnet = subnet{m[1], m[2], m[3]}
	} else if !namePattern.MatchString(subnetwork) {
		return fmt.Errorf("vpcNetworkSubnetName %q: want a name, or projects/HOST/regions/REGION/subnetworks/NAME", subnetwork)
	}
	if at.subnet.region != at.region {
		return fmt.Errorf("vpcNetworkSubnetName: %s is not in the region %s of the zones", at.subnet, at.region)
	}
	at.network = fmt.Sprintf("projects/%s/global/networks/%s", at.subnet.project, network)
	if strings.Contains(network, "/") {
		at.network = network
	}
	if !networkPattern.MatchString(at.network) {
		return fmt.Errorf("vpcNetworkName %q: want a name, or projects/HOST/global/networks/NAME", network)
	}
	return nil
}

// path is what a resource in a zone is called, for people and in references.
func (at place) path(zone, collection, name string) string {
	return fmt.Sprintf("projects/%s/zones/%s/%s/%s", at.project, zone, collection, name)
}

// lastName gives the name at the end of a path or URL of a resource.
func lastName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// scsiFamilies are the families of machine types whose disks are SCSI disks. With
// all others they are NVMe, where a guest sees a disk's device name only by a
// command of the vendor's.
var scsiFamilies = []string{"e2", "n1", "n2", "n2d", "t2d", "c2", "c2d", "m1", "m2", "custom"}

// hasSCSI reports whether a CE of the machine type can find its output disk.
func hasSCSI(machine string) bool {
	family, _, _ := strings.Cut(machine, "-")
	return slices.Contains(scsiFamilies, family)
}
