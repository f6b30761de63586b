package job

import "strings"

// Placement says where on the platform the Compositing Engine runs. Only the
// fields of the request's platform count; keys of other platforms are accepted,
// because the specification's own examples carry some.
type Placement struct {
	VSphere
	Azure
	GCP
	XenServer
	// Network is the network that the CE is attached to (vSphere, XenServer).
	Network string `json:"network,omitempty"`
	// CENetwork gives the CE static addresses; without, it asks by DHCP. It is
	// ours.
	CENetwork *CENetwork `json:"ceNetwork,omitempty"`
}

// VSphere is the placement on vSphere. Specification: the printed examples.
type VSphere struct {
	VCenterHost               string `json:"vCenterHost,omitempty"`
	VCenterPort               int    `json:"vCenterPort,omitempty"` // 0 = 443
	VCenterSSLCACertificate   string `json:"vCenterSslCaCertificate,omitempty"`
	VCenterSSLFingerprint     string `json:"vCenterSslFingerprint,omitempty"`
	VCenterSSLNoCheckHostname bool   `json:"vCenterSslNoCheckHostname,omitempty"`
	Datacenter                string `json:"datacenter,omitempty"`
	Datastore                 string `json:"datastore,omitempty"`
	Cluster                   string `json:"cluster,omitempty"`    // this or HostSystem
	HostSystem                string `json:"hostSystem,omitempty"` // this or Cluster
	ResourcePool              string `json:"resourcePool,omitempty"`
	Folder                    string `json:"folder,omitempty"`
}

// Azure is the placement on Azure.
type Azure struct {
	SubscriptionID string `json:"subscriptionId,omitempty"`
	AzureRegion    string `json:"azureRegion,omitempty"`
	// ResourceGroup is where the CE is made; without, the one of the worker's
	// configuration.
	ResourceGroup                   string `json:"resourceGroup,omitempty"`
	VirtualNetworkResourceGroupName string `json:"virtualNetworkResourceGroupName,omitempty"`
	VirtualNetworkName              string `json:"virtualNetworkName,omitempty"`
	VirtualNetworkSubnetName        string `json:"virtualNetworkSubnetName,omitempty"`
	// TargetDiskResourceGroupName is where the output disk of reverseImage goes;
	// without, where the CE is.
	TargetDiskResourceGroupName string `json:"targetDiskResourceGroupName,omitempty"`
	// UsePublicIP is refused if it is true: a CE needs no address that the
	// Internet reaches.
	UsePublicIP bool `json:"usePublicIP,omitempty"`
	// AzureVMSize is the size of the CE; without, that of the worker's
	// configuration. It is ours.
	AzureVMSize string `json:"azureVmSize,omitempty"`
}

// GCP is the placement on Google Cloud.
type GCP struct {
	// GCPProject is the project; without, that of the credential's key. It is ours.
	GCPProject string `json:"gcpProject,omitempty"`
	GCPZone    string `json:"gcpZone,omitempty"`
	// GCPZones are further zones of the same region, which are tried in their
	// order when GCPZone has no capacity. The output disk of reverseImage is in
	// the zone that the CE came to be in. It is ours.
	GCPZones             Names  `json:"gcpZones,omitempty"`
	VPCNetworkName       string `json:"vpcNetworkName,omitempty"`
	VPCNetworkSubnetName string `json:"vpcNetworkSubnetName,omitempty"`
	// GCPMachineType is the machine type of the CE; without, that of the worker's
	// configuration. GCPNetworkTags are what firewall rules go by. They are ours.
	GCPMachineType string `json:"gcpMachineType,omitempty"`
	GCPNetworkTags Names  `json:"gcpNetworkTags,omitempty"`
}

// XenServer is the placement on XenServer.
type XenServer struct {
	// XenHost is the pool's coordinator, or any of its hosts.
	XenHost string `json:"xenHost,omitempty"`
	XenPort int    `json:"xenPort,omitempty"` // 0 = 443
	// XenSSLFingerprint pins the certificate. Without it and the two others,
	// which are ours, a certificate has to be one that the system trusts.
	XenSSLFingerprint     string `json:"xenSslFingerprint,omitempty"`
	XenSSLCACertificate   string `json:"xenSslCaCertificate,omitempty"` // PEM
	XenSSLNoCheckHostname bool   `json:"xenSslNoCheckHostname,omitempty"`
	StorageRepositoryUUID string `json:"storageRepositoryUuid,omitempty"`
}

// The platforms of the specification, and those of one Linux machine: VMs under
// QEMU, and processes.
const (
	PlatformVSphere   = "vSphere"
	PlatformXenServer = "XenServer"
	PlatformAzure     = "Azure"
	PlatformGCP       = "GCP"
	PlatformQEMU      = "qemu"
	PlatformLocal     = "local"
)

// platformAliases maps lower-case spellings to a platform's name.
var platformAliases = map[string]string{
	"vsphere": PlatformVSphere, "vmware": PlatformVSphere,
	"xenserver": PlatformXenServer, "xen": PlatformXenServer, "citrixhypervisor": PlatformXenServer,
	"azure": PlatformAzure,
	"gcp":   PlatformGCP, "googlecloud": PlatformGCP,
	"qemu":  PlatformQEMU,
	"local": PlatformLocal,
}

// CanonicalPlatform gives the standard spelling of a platform's name, and the
// name itself where it is not known.
func CanonicalPlatform(name string) string {
	if canonical, ok := platformAliases[strings.ToLower(strings.TrimSpace(name))]; ok {
		return canonical
	}
	return strings.TrimSpace(name)
}

// validate reports what the platform needs and the request lacks.
func (p *Placement) validate(platform string, bad *problems) {
	if p.CENetwork != nil {
		if err := p.CENetwork.Validate(); err != nil {
			bad.add("ceNetwork: %s", err)
		}
	}
	switch platform {
	case PlatformVSphere:
		bad.require("vCenterHost", p.VCenterHost)
		bad.require("datacenter", p.Datacenter)
		bad.require("datastore", p.Datastore)
		bad.require("network", p.Network)
		if (p.Cluster == "") == (p.HostSystem == "") {
			bad.add("give exactly one of cluster and hostSystem")
		}
		bad.port("vCenterPort", p.VCenterPort)
	case PlatformXenServer:
		bad.require("xenHost", p.XenHost)
		bad.require("network", p.Network)
		bad.require("storageRepositoryUuid", p.StorageRepositoryUUID)
		bad.port("xenPort", p.XenPort)
	case PlatformAzure:
		bad.require("subscriptionId", p.SubscriptionID)
		bad.require("azureRegion", p.AzureRegion)
		bad.require("virtualNetworkResourceGroupName", p.VirtualNetworkResourceGroupName)
		bad.require("virtualNetworkName", p.VirtualNetworkName)
		bad.require("virtualNetworkSubnetName", p.VirtualNetworkSubnetName)
	case PlatformGCP:
		bad.require("gcpZone", p.GCPZone)
		bad.require("vpcNetworkName", p.VPCNetworkName)
		bad.require("vpcNetworkSubnetName", p.VPCNetworkSubnetName)
	}
}
