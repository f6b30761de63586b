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
	SubscriptionID                  string `json:"subscriptionId,omitempty"`
	AzureRegion                     string `json:"azureRegion,omitempty"`
	ResourceGroup                   string `json:"resourceGroup,omitempty"`
	VirtualNetworkResourceGroupName string `json:"virtualNetworkResourceGroupName,omitempty"`
	VirtualNetworkName              string `json:"virtualNetworkName,omitempty"`
	VirtualNetworkSubnetName        string `json:"virtualNetworkSubnetName,omitempty"`
	UsePublicIP                     bool   `json:"usePublicIP,omitempty"`
}

// GCP is the placement on Google Cloud.
type GCP struct {
	GCPZone              string `json:"gcpZone,omitempty"`
	VPCNetworkName       string `json:"vpcNetworkName,omitempty"`
	VPCNetworkSubnetName string `json:"vpcNetworkSubnetName,omitempty"`
}

// XenServer is the placement on XenServer.
type XenServer struct {
	XenHost               string `json:"xenHost,omitempty"`
	XenPort               int    `json:"xenPort,omitempty"` // 0 = 443
	XenSSLFingerprint     string `json:"xenSslFingerprint,omitempty"`
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
