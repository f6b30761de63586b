package azure

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/appliancefile"
	"imageport/platforms/patience"
)

// Config is the configuration of the platform Azure. Which subscription, and
// where in it, is for each request to say.
type Config struct {
	// Credential gives a credential of the wallet.
	Credential func(ctx context.Context, id string) (Credential, error)
	// Appliance is the appliance as a fixed VHD, which is uploaded and made a
	// version of an image in the gallery of resource id Gallery where a CE needs
	// it for the first time. Image is the resource id of a version of an image
	// with the appliance, or of a managed image. It is one of the two.
	Appliance, Gallery, Image string
	// ResourceGroup is where CEs are made whose requests do not say it.
	ResourceGroup string
	// VMSize is the size of CEs whose requests do not say it, by default
	// Standard_D2s_v5: two cores, no temporary disk, SCSI.
	VMSize string
	// DiskType is the type of CEs' disks and of output disks, by default
	// StandardSSD_LRS. That of an output disk can be changed when it is complete.
	DiskType string
	// PollInterval is how soon an operation is looked at again, by default 2 s, if
	// Azure does not say it. The longer it takes, the longer are the pauses, up to
	// five times that.
	PollInterval time.Duration
	// Transport makes all calls, by default the SDK's own. Tests count calls there,
	// and let them fail.
	Transport policy.Transporter
}

const (
	defaultVMSize   = "Standard_D2s_v5"
	defaultDiskType = "StandardSSD_LRS"
	defaultPoll     = 2 * time.Second
	defaultSettle   = 10 * time.Second
)

// Platform gives drivers, and holds the clients that they share.
type Platform struct {
	cfg    Config
	source imageSource
	vhd    *appliancefile.File[vhdContent]

	mu      sync.Mutex
	clients map[clientKey]*client
	closed  bool
	uploads appliancefile.Turns // by the version
}

// clientKey is what clients are shared by.
type clientKey struct {
	subscription string
	credential   [sha256.Size]byte // one that was changed makes other clients
}

// client is what the drivers for one subscription and credential share.
type client struct {
	vms         *armcompute.VirtualMachinesClient
	disks       *armcompute.DisksClient
	galleries   *armcompute.GalleriesClient
	definitions *armcompute.GalleryImagesClient
	versions    *armcompute.GalleryImageVersionsClient
	images      *armcompute.ImagesClient
	sizes       *armcompute.VirtualMachineSizesClient
	usage       *armcompute.UsageClient
	manager     *arm.Client // for what the SDK for compute does not have
}

var (
	subscriptionPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	// Names of resource groups, networks and subnets (Azure, naming rules).
	groupPattern  = regexp.MustCompile(`^[\p{L}\p{N}_().-]{0,89}[\p{L}\p{N}_()-]$`)
	namePattern   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,78}[A-Za-z0-9_])?$`)
	sizePattern   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	regionPattern = regexp.MustCompile(`^[a-z0-9]{3,40}$`)
)

// New gives the platform.
func New(cfg Config) (*Platform, error) {
	refuse := func(format string, args ...any) (*Platform, error) {
		return nil, platforms.Errorf(platforms.BadRequest, "Azure platform: "+format, args...)
	}
	cfg.VMSize = cmp.Or(cfg.VMSize, defaultVMSize)
	cfg.DiskType = cmp.Or(cfg.DiskType, defaultDiskType)
	cfg.PollInterval = cmp.Or(cfg.PollInterval, defaultPoll)
	p := &Platform{
		cfg: cfg, vhd: newVHDFile(cfg.Appliance),
		clients: make(map[clientKey]*client),
	}
	switch {
	case cfg.Credential == nil:
		return refuse("no source of credentials")
	case (cfg.Appliance == "") == (cfg.Image == ""):
		return refuse("want either the appliance's VHD or the resource id of an image with it")
	case (cfg.Appliance == "") != (cfg.Gallery == ""):
		return refuse("the appliance's VHD and the gallery that it goes to belong together")
	case cfg.ResourceGroup != "" && !groupPattern.MatchString(cfg.ResourceGroup):
		return refuse("resource group %q", cfg.ResourceGroup)
	case !sizePattern.MatchString(cfg.VMSize):
		return refuse("VM size %q", cfg.VMSize)
	case !sizePattern.MatchString(cfg.DiskType):
		return refuse("disk type %q", cfg.DiskType)
	case cfg.PollInterval < 0:
		return refuse("a poll interval of %v", cfg.PollInterval)
	}
	source, err := parseSource(cmp.Or(cfg.Image, cfg.Gallery), cfg.Image == "")
	if err != nil {
		return refuse("%w", err)
	}
	p.source = source
	return p, nil
}

// Open is the platforms.Opener. It asks Azure nothing: the driver does that when
// it needs something.
func (p *Platform) Open(ctx context.Context, where job.Target) (platforms.Driver, error) {
	refuse := func(format string, args ...any) (platforms.Driver, error) {
		return nil, platforms.Errorf(platforms.BadRequest, "Azure: "+format, args...)
	}
	a := where.Azure
	group := cmp.Or(a.ResourceGroup, p.cfg.ResourceGroup)
	for _, need := range []struct {
		field, value string
		pattern      *regexp.Regexp
	}{
		{"subscriptionId", a.SubscriptionID, subscriptionPattern},
		{"azureRegion", region(a.AzureRegion), regionPattern},
		{"resourceGroup", group, groupPattern},
		{"virtualNetworkResourceGroupName", a.VirtualNetworkResourceGroupName, groupPattern},
		{"virtualNetworkName", a.VirtualNetworkName, namePattern},
		{"virtualNetworkSubnetName", a.VirtualNetworkSubnetName, namePattern},
		{"targetDiskResourceGroupName", cmp.Or(a.TargetDiskResourceGroupName, group), groupPattern},
		{"azureVmSize", cmp.Or(a.AzureVMSize, p.cfg.VMSize), sizePattern},
	} {
		switch {
		case need.value == "":
			return refuse("the request has no %s", need.field)
		case !need.pattern.MatchString(need.value):
			return refuse("%s: Azure has no such name as %q", need.field, need.value)
		}
	}
	switch {
	case where.PlatformCredentialID == "":
		return refuse("the request has no platformCredentialId")
	case a.UsePublicIP:
		return refuse("usePublicIP: a CE gets no public address; it needs a way to the gateway and to the share only, by the subnet")
	}
	credential, err := p.cfg.Credential(ctx, where.PlatformCredentialID)
	if err != nil {
		if _, ok := errors.AsType[*job.Error](err); ok {
			return nil, err // the wallet says it best
		}
		return nil, fail(a.SubscriptionID, "credential "+where.PlatformCredentialID, err)
	}
	c, err := p.client(a.SubscriptionID, credential)
	if err != nil {
		return nil, fail(a.SubscriptionID, "credential "+where.PlatformCredentialID, err)
	}
	return &Driver{
		client: c, p: p, subscription: a.SubscriptionID, region: region(a.AzureRegion), group: group,
		target: cmp.Or(a.TargetDiskResourceGroupName, group), size: cmp.Or(a.AzureVMSize, p.cfg.VMSize),
		subnet: fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Network/virtualNetworks/%s/subnets/%s",
			a.SubscriptionID, a.VirtualNetworkResourceGroupName, a.VirtualNetworkName, a.VirtualNetworkSubnetName),
		networkGroup: a.VirtualNetworkResourceGroupName, settle: defaultSettle,
		pauses: patience.Pauses{First: p.cfg.PollInterval / 4, Longest: 5 * p.cfg.PollInterval},
	}, nil
}

// region gives a region's name as the API has it: "West Europe" is westeurope.
func region(name string) string { return strings.ToLower(strings.ReplaceAll(name, " ", "")) }

// client gives the clients for a subscription, which drivers share.
func (p *Platform) client(subscription string, credential Credential) (*client, error) {
	key := clientKey{subscription: strings.ToLower(subscription), credential: credential.sum()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, platforms.Errorf(platforms.Busy, "the worker is stopping")
	}
	if c, ok := p.clients[key]; ok {
		return c, nil
	}
	options := policy.ClientOptions{
		Transport: p.cfg.Transport,
		// Who calls a driver tries again, and knows how long to wait. Here it is
		// only for what a moment mends.
		Retry:     policy.RetryOptions{MaxRetries: 1, RetryDelay: p.cfg.PollInterval / 4, MaxRetryDelay: p.cfg.PollInterval},
		Telemetry: policy.TelemetryOptions{ApplicationID: "imageport"},
	}
	token, err := credential.token(options)
	if err != nil {
		return nil, err
	}
	// Registering providers is for the subscription's owner: the role has no
	// right to it.
	armOptions := &arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true}
	factory, err := armcompute.NewClientFactory(subscription, token, armOptions)
	if err != nil {
		return nil, err
	}
	manager, err := arm.NewClient("imageport", "v1.0.0", token, armOptions)
	if err != nil {
		return nil, err
	}
	c := &client{
		vms: factory.NewVirtualMachinesClient(), disks: factory.NewDisksClient(), galleries: factory.NewGalleriesClient(),
		definitions: factory.NewGalleryImagesClient(), versions: factory.NewGalleryImageVersionsClient(), images: factory.NewImagesClient(),
		sizes: factory.NewVirtualMachineSizesClient(), usage: factory.NewUsageClient(), manager: manager,
	}
	p.clients[key] = c
	return c, nil
}

// Close forgets all clients, and the tokens that they have. Nothing can be opened
// any more.
func (p *Platform) Close(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.clients = true, nil
	return nil
}

// Driver is the platforms.Driver for one place in one subscription.
type Driver struct {
	*client
	p *Platform

	subscription, region string
	group, target        string // resource groups of the CEs, and of output disks
	size                 string
	subnet, networkGroup string
	settle               time.Duration // see perform
	pauses               patience.Pauses
}

var (
	_ platforms.Driver      = (*Driver)(nil)
	_ platforms.OutputDisks = (*Driver)(nil)
)

// fail says what the verb failed at.
func (d *Driver) fail(verb, name string, err error) error {
	return fail(d.subscription, verb+" "+name, err)
}

// id gives the id of a resource of the compute provider.
func (d *Driver) id(group, kind, name string) string {
	return "/subscriptions/" + d.subscription + "/resourceGroups/" + group + "/providers/Microsoft.Compute/" + kind + "/" + name
}
