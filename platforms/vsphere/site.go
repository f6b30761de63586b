package vsphere

import (
	"context"
	"hash/fnv"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
)

// ownFolder is the folder of our CEs and templates, below the datacenter's
// folder of VMs, if the request does not name another.
const ownFolder = "imageport"

// site is what the names of a request stand for.
type site struct {
	datacenter, datastore, compute, network *entity
	vmFolder                                *entity // the datacenter's
	// folder is that of the CEs and templates; nil if it has to be made first.
	folder *entity
	// outputFolder is that of output VMs.
	outputFolder *entity
	pool         *entity
	// hosts are those that a CE can be started on, if somebody has to choose
	// one: the cluster has no DRS that does, or the request names it. Otherwise
	// there are none.
	hosts []*entity
	// datastores are all of the datacenter.
	datastores []*entity
}

// site looks up what the request names, once.
func (d *Driver) site(ctx context.Context) (*site, error) {
	if _, err := d.connect(ctx); err != nil {
		return nil, err
	}
	if s := d.known.Load(); s != nil {
		return s, nil
	}
	s, err := d.resolve(ctx)
	if err != nil {
		return nil, err
	}
	d.known.Store(s)
	return s, nil
}

func (d *Driver) resolve(ctx context.Context) (*site, error) {
	s, v := new(site), d.where.VSphere
	root := d.client.ServiceContent.RootFolder
	all, err := d.survey(ctx, root, map[string][]string{"Folder": nil, "Datacenter": {"vmFolder", "hostFolder"}},
		traverse("folders", "Folder", "childEntity", "folders"))
	if err != nil {
		return nil, err
	}
	all.setPaths(root, "")
	if s.datacenter, err = pick("datacenter", v.Datacenter, "", all.of("Datacenter")); err != nil {
		return nil, err
	}
	dc := s.datacenter
	all, err = d.survey(ctx, dc.ref, map[string][]string{
		"Folder":                      nil,
		"ComputeResource":             {"resourcePool", "datastore"},
		"ClusterComputeResource":      {"resourcePool", "datastore"},
		"HostSystem":                  {"runtime.connectionState", "runtime.inMaintenanceMode", "datastore", "network"},
		"ResourcePool":                nil,
		"VirtualApp":                  nil,
		"Datastore":                   {"summary", "capability", "info"},
		"Network":                     nil,
		"DistributedVirtualPortgroup": nil,
		"OpaqueNetwork":               nil,
	},
		traverse("datastores", "Datacenter", "datastore"),
		traverse("networks", "Datacenter", "network"),
		traverse("folders", "Folder", "childEntity", "folders", "hosts", "pool", "pools"),
		traverse("hosts", "ComputeResource", "host"),
		traverse("pool", "ComputeResource", "resourcePool", "pools"),
		traverse("pools", "ResourcePool", "resourcePool", "pools"),
		traverse("vmFolder", "Datacenter", "vmFolder", "folders"),
		traverse("hostFolder", "Datacenter", "hostFolder", "folders", "hosts", "pool", "pools"),
	)
	if err != nil {
		return nil, err
	}
	all.setPaths(dc.ref, dc.path)
	vmFolder, ok := all[get[types.ManagedObjectReference](dc.properties, "vmFolder")]
	if !ok {
		return nil, platforms.Errorf(platforms.Denied, "datacenter %s: its folder of VMs cannot be seen", dc.name)
	}
	s.vmFolder, s.datastores = vmFolder, all.of("Datastore")
	if s.datastore, err = pick("datastore", v.Datastore, dc.path+"/datastore", s.datastores); err != nil {
		return nil, err
	}
	networks := all.of("Network", "DistributedVirtualPortgroup", "OpaqueNetwork")
	if s.network, err = pick("network", d.where.Network, dc.path+"/network", networks); err != nil {
		return nil, err
	}
	if err := s.resolveCompute(all, v.Cluster, v.HostSystem, v.ResourcePool); err != nil {
		return nil, err
	}
	if v.HostSystem == "" {
		drs, err := d.hasDRS(ctx, s.compute)
		if err != nil {
			return nil, err
		}
		if !drs {
			s.hosts = all.hostsOf(s.compute)
		}
	}
	return s, s.resolveFolder(all, v.Folder)
}

// resolveCompute finds what runs the CEs: the cluster or the host, and the pool.
func (s *site) resolveCompute(all inventory, cluster, host, pool string) error {
	base := s.datacenter.path + "/host"
	var err error
	if host != "" {
		h, err := pick("hostSystem", host, base, all.of("HostSystem"))
		if err != nil {
			return err
		}
		s.compute = all[get[types.ManagedObjectReference](h.properties, "parent")]
		if s.compute == nil {
			return platforms.Errorf(platforms.Denied, "hostSystem %s: what it belongs to cannot be seen", h.name)
		}
		s.hosts = []*entity{h}
	} else if s.compute, err = pick("cluster", cluster, base, all.of("ClusterComputeResource")); err != nil {
		return err
	}
	root := get[types.ManagedObjectReference](s.compute.properties, "resourcePool")
	if s.pool = all[root]; s.pool == nil {
		return platforms.Errorf(platforms.Denied, "%s: its resource pool cannot be seen", s.compute.name)
	}
	if pool != "" {
		var pools []*entity
		for _, e := range all.of("ResourcePool", "VirtualApp") {
			if all.below(e, root) {
				pools = append(pools, e)
			}
		}
		if s.pool, err = pick("resourcePool", pool, s.compute.path+"/Resources", pools); err != nil {
			return err
		}
	}
	return nil
}

// resolveFolder finds the folders.
func (s *site) resolveFolder(all inventory, folder string) error {
	var folders []*entity
	for _, e := range all.of("Folder") {
		if all.below(e, s.vmFolder.ref) {
			folders = append(folders, e)
		}
	}
	if folder != "" {
		f, err := pick("folder", folder, s.vmFolder.path, folders)
		s.folder, s.outputFolder = f, f
		return err
	}
	s.outputFolder = s.vmFolder
	for _, e := range folders {
		if e.name == ownFolder && get[types.ManagedObjectReference](e.properties, "parent") == s.vmFolder.ref {
			s.folder = e
		}
	}
	return nil
}

// below reports whether e is root or somewhere below it.
func (all inventory) below(e *entity, root types.ManagedObjectReference) bool {
	for range len(all) {
		if e.ref == root {
			return true
		}
		next, ok := all[get[types.ManagedObjectReference](e.properties, "parent")]
		if !ok {
			return false
		}
		e = next
	}
	return false
}

// hasDRS reports whether the cluster chooses the hosts of VMs.
func (d *Driver) hasDRS(ctx context.Context, cluster *entity) (bool, error) {
	p, err := d.read(ctx, cluster.ref, "configurationEx")
	if err != nil {
		return false, err
	}
	c, ok := p["configurationEx"].(types.ClusterConfigInfoEx)
	return ok && c.DrsConfig.Enabled != nil && *c.DrsConfig.Enabled, nil
}

// hostsOf gives the hosts of a cluster.
func (all inventory) hostsOf(cluster *entity) []*entity {
	return slices.DeleteFunc(all.of("HostSystem"), func(h *entity) bool {
		return get[types.ManagedObjectReference](h.properties, "parent") != cluster.ref
	})
}

// host gives the host that a VM of that name goes to, or nil if the vCenter
// chooses. The choice depends on the name, so that VMs spread.
func (s *site) host(name string) (*types.ManagedObjectReference, error) {
	if len(s.hosts) == 0 {
		return nil, nil
	}
	var fit []*entity
	for _, h := range s.hosts {
		datastores := get[types.ArrayOfManagedObjectReference](h.properties, "datastore").ManagedObjectReference
		networks := get[types.ArrayOfManagedObjectReference](h.properties, "network").ManagedObjectReference
		if get[types.HostSystemConnectionState](h.properties, "runtime.connectionState") == types.HostSystemConnectionStateConnected &&
			!get[bool](h.properties, "runtime.inMaintenanceMode") &&
			slices.Contains(datastores, s.datastore.ref) && slices.Contains(networks, s.network.ref) {
			fit = append(fit, h)
		}
	}
	if len(fit) == 0 {
		return nil, platforms.Errorf(platforms.Busy,
			"none of the %d hosts of %s is connected, not in maintenance mode, and has the datastore %s and the network %s",
			len(s.hosts), s.compute.name, s.datastore.name, s.network.name)
	}
	sum := fnv.New32a()
	sum.Write([]byte(name))
	return &fit[int(sum.Sum32()%uint32(len(fit)))].ref, nil
}

// backing connects a network adapter to the request's network.
func (d *Driver) backing(ctx context.Context, s *site) (types.BaseVirtualDeviceBackingInfo, error) {
	ref, ok := object.NewReference(d.client, s.network.ref).(object.NetworkReference)
	if !ok {
		return nil, platforms.Errorf(platforms.BadRequest, "network %s: a %s is nothing to connect to", s.network.name, s.network.ref.Type)
	}
	return ref.EthernetCardBackingInfo(ctx)
}

// makeFolder gives the folder of the CEs, and makes it if need be.
func (d *Driver) makeFolder(ctx context.Context, s *site) (types.ManagedObjectReference, error) {
	found, err := d.findFolder(ctx, s)
	if err != nil {
		return types.ManagedObjectReference{}, err
	}
	if found != nil {
		return *found, nil
	}
	made, err := object.NewFolder(d.client, s.vmFolder.ref).CreateFolder(ctx, ownFolder)
	if err == nil {
		return made.Reference(), nil
	}
	// Somebody else may have made it in the meantime.
	if found, findErr := d.findFolder(ctx, s); findErr == nil && found != nil {
		return *found, nil
	}
	return types.ManagedObjectReference{}, err
}

// findFolder gives the folder of the CEs, or nil if there is none.
func (d *Driver) findFolder(ctx context.Context, s *site) (*types.ManagedObjectReference, error) {
	if s.folder != nil {
		return &s.folder.ref, nil
	}
	return d.child(ctx, s.vmFolder.ref, ownFolder)
}
