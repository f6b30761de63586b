package gce

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"
)

// The states of instances.
const (
	provisioning = "PROVISIONING"
	running      = "RUNNING"
	stopping     = "STOPPING"
	terminated   = "TERMINATED"
)

// instance is an instance with what is behind it.
type instance struct {
	*computepb.Instance
	hidden bool   // its name is taken, and nothing of it shows yet
	busy   bool   // an operation is at work on it
	guest  string // what its guest is called that runs
	timer  *time.Timer
}

func (in *instance) stopTimer() {
	if in.timer != nil {
		in.timer.Stop()
		in.timer = nil
	}
}

// machineTypes are those of every zone: processors and MiB of memory.
var machineTypes = map[string]struct {
	cpus     int
	memoryMB int64
	scsi     bool
}{
	"e2-small": {2, 2048, true}, "e2-medium": {2, 4096, true}, "e2-standard-2": {2, 8192, true}, "n2-standard-2": {2, 8192, true},
	"c3-standard-4": {4, 16384, false},
}

var (
	namePattern  = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
	labelPattern = regexp.MustCompile(`^[\p{Ll}0-9_-]{0,63}$`)
)

const (
	maxDescription = 2048
	maxMetadata    = 256 << 10 // of one value
	minRun, maxRun = 30, 120 * 24 * 3600
)

func checkMarks(name string, labels map[string]string, description string) error {
	if !namePattern.MatchString(name) {
		return invalid("Invalid value for field 'resource.name': '%s'. Must be a match of regex '%s'", name, namePattern)
	}
	for key, value := range labels {
		if key == "" || !labelPattern.MatchString(key) || !labelPattern.MatchString(value) {
			return invalid("Invalid value for field 'resource.labels': label '%s': '%s'", key, value)
		}
	}
	if len(description) > maxDescription {
		return invalid("Invalid value for field 'resource.description': it has more than %d bytes", maxDescription)
	}
	return nil
}

// checkInstance refuses what the API refuses at once. The caller holds the lock.
func (c *Cloud) checkInstance(r *request, in *computepb.Instance) error {
	if err := checkMarks(in.GetName(), in.Labels, in.GetDescription()); err != nil {
		return err
	}
	machine := last(in.GetMachineType())
	if _, ok := machineTypes[machine]; !ok || !strings.HasSuffix(in.GetMachineType(), "zones/"+r.Zone+"/machineTypes/"+machine) {
		return invalid("Invalid value for field 'resource.machineType': '%s'", in.GetMachineType())
	}
	for _, i := range in.GetMetadata().GetItems() {
		if i.GetKey() == "" || len(i.GetValue()) > maxMetadata {
			return invalid("Invalid value for field 'resource.metadata': '%s'", i.GetKey())
		}
	}
	if s := in.GetScheduling(); s.MaxRunDuration != nil {
		if n := s.MaxRunDuration.GetSeconds(); n < minRun || n > maxRun || s.GetInstanceTerminationAction() == "" {
			return invalid("Invalid value for field 'resource.scheduling.maxRunDuration': %d s, action '%s'", n, s.GetInstanceTerminationAction())
		}
	}
	if len(in.NetworkInterfaces) != 1 {
		return invalid("Invalid value for field 'resource.networkInterfaces': want one")
	}
	nic := in.NetworkInterfaces[0]
	if nic.GetNetwork() != c.path("global/networks", c.cfg.Network) {
		return notFound(nic.GetNetwork())
	}
	if nic.GetSubnetwork() != c.path("regions", c.region, "subnetworks", c.cfg.Subnetwork) {
		return notFound(nic.GetSubnetwork())
	}
	if len(in.Disks) != 1 || !in.Disks[0].GetBoot() || in.Disks[0].InitializeParams == nil || in.Disks[0].GetDeviceName() == "" {
		return invalid("Invalid value for field 'resource.disks': want a boot disk that is to be made, with a device name")
	}
	p := in.Disks[0].InitializeParams
	if err := checkMarks(p.GetDiskName(), p.Labels, p.GetDescription()); err != nil {
		return err
	}
	if _, err := c.findImage(p.GetSourceImage()); err != nil {
		return err
	}
	permissions := []string{"compute.disks.create", "compute.images.useReadOnly", "compute.subnetworks.use"}
	for permission, used := range map[string]bool{
		"compute.instances.setLabels": len(in.Labels) > 0, "compute.instances.setMetadata": len(in.GetMetadata().GetItems()) > 0,
		"compute.instances.setTags": len(in.GetTags().GetItems()) > 0, "compute.disks.setLabels": len(p.Labels) > 0,
		"compute.subnetworks.useExternalIp": len(nic.AccessConfigs) > 0, "compute.instances.setServiceAccount": len(in.ServiceAccounts) > 0,
	} {
		if used {
			permissions = append(permissions, permission)
		}
	}
	slices.Sort(permissions)
	return c.lacks(c.path("zones", r.Zone, "instances", in.GetName()), permissions...)
}

func (c *Cloud) insertInstance(r *request) (any, error) {
	in := &computepb.Instance{}
	if err := r.decode(in); err != nil {
		return nil, err
	}
	if err := c.checkInstance(r, in); err != nil {
		return nil, err
	}
	at, p := place{r.Zone, in.GetName()}, in.Disks[0].InitializeParams
	switch {
	case c.instances[at] != nil:
		return nil, taken(c.path("zones", r.Zone, "instances", at.name))
	case c.disks[place{r.Zone, p.GetDiskName()}] != nil:
		return nil, taken(c.path("zones", r.Zone, "disks", p.GetDiskName()))
	case c.faults.most > 0 && len(c.instances) >= c.faults.most:
		return nil, &Fault{Status: http.StatusForbidden, Reason: "quotaExceeded", Message: fmt.Sprintf("Quota 'INSTANCES' exceeded. Limit: %d in region %s.", c.faults.most, c.region)}
	}
	source, err := c.findImage(p.GetSourceImage())
	if err != nil {
		return nil, err
	}
	boot := c.newDisk(r.Zone, &computepb.Disk{
		Name: p.DiskName, Labels: p.Labels, Description: p.Description, Type: p.DiskType, SourceImage: proto.String(source.GetSelfLink()),
		SizeGb: proto.Int64(max(source.GetDiskSizeGb(), p.GetDiskSizeGb())), GuestOsFeatures: source.GuestOsFeatures,
	})
	boot.Users = []string{c.link(r.Zone, "instances", at.name)}
	in.Id, in.CreationTimestamp, in.Status = proto.Uint64(c.newID()), proto.String(c.birth()), proto.String(provisioning)
	in.Zone, in.SelfLink = proto.String(c.path("zones", r.Zone)), proto.String(c.link(r.Zone, "instances", at.name))
	if in.Metadata == nil {
		in.Metadata = &computepb.Metadata{}
	}
	in.Metadata.Fingerprint = proto.String(c.fingerprint())
	in.Disks[0].InitializeParams, in.Disks[0].Source = nil, proto.String(boot.GetSelfLink())
	i := &instance{Instance: in, busy: true, hidden: c.faults.delays[r.Method] > 0}
	boot.hidden = i.hidden
	c.instances[at], c.disks[place{r.Zone, boot.GetName()}] = i, boot
	return c.start(r, "insert", in.GetId(), in.GetSelfLink(), func() error {
		if err := c.room(r.Zone); err != nil {
			return err
		}
		if err := copyFile(boot.file, source.file, boot.sizeBytes()); err != nil {
			return err
		}
		c.mu.Lock()
		if i.hidden {
			i.CreationTimestamp = proto.String(c.birth()) // it shows from now on
		}
		i.hidden, boot.hidden = false, false
		boot.Status = proto.String(diskReady)
		c.mu.Unlock()
		return c.powerOn(i, r.Zone)
	}, func(failed *Fault) {
		i.busy = false
		if failed != nil {
			delete(c.instances, at)
			c.dropDisk(boot)
		}
	}), nil
}

// room reports whether the zone has any for an instance.
func (c *Cloud) room(zone string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if code := c.faults.stockOut[zone]; code != "" {
		return &Fault{
			Status: http.StatusServiceUnavailable, Code: code,
			Message: fmt.Sprintf("The zone '%s' does not have enough resources available to fulfill the request.", c.path("zones", zone)),
		}
	}
	return nil
}

// fingerprint is a new one. The caller holds the lock.
func (c *Cloud) fingerprint() string { return strconv.FormatUint(c.newID(), 36) }

// find gives an instance for an operation, which has it for its own until it is
// done. The caller holds the lock.
func (c *Cloud) find(r *request) (*instance, error) {
	i := c.instances[place{r.Zone, r.Name}]
	switch path := c.path("zones", r.Zone, "instances", r.Name); {
	case i == nil || i.hidden:
		return nil, notFound(path)
	case i.busy:
		return nil, notReady(path)
	}
	return i, nil
}

func (c *Cloud) getInstance(r *request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.instances[place{r.Zone, r.Name}]
	if i == nil || i.hidden {
		return nil, notFound(c.path("zones", r.Zone, "instances", r.Name))
	}
	return proto.Clone(i.Instance), nil
}

func (c *Cloud) listInstances(r *request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := &computepb.InstanceList{}
	names, next, err := page(r, c.cfg.PageSize, c.instances, func(i *instance) (map[string]string, bool) { return i.Labels, !i.hidden })
	if err != nil {
		return nil, err
	}
	for _, at := range names {
		list.Items = append(list.Items, proto.Clone(c.instances[at].Instance).(*computepb.Instance))
	}
	list.NextPageToken = next
	return list, nil
}

// page gives a page of the resources of a zone that a list asks for.
func page[T any](r *request, size int, of map[place]T, labels func(T) (map[string]string, bool)) (names []place, next *string, err error) {
	q := r.raw.URL.Query()
	keep, err := filter(q.Get("filter"))
	if err != nil {
		return nil, nil, err
	}
	if n, err := strconv.Atoi(q.Get("maxResults")); err == nil && n > 0 {
		size = min(size, n)
	}
	for _, at := range sorted(of) {
		l, shown := labels(of[at])
		if at.zone != r.Zone || !shown || at.name <= q.Get("pageToken") || !keep(l) {
			continue
		}
		if len(names) == size {
			return names, proto.String(names[len(names)-1].name), nil
		}
		names = append(names, at)
	}
	return names, nil, nil
}

// filter reads the filters that there are here: labels.KEY:* and labels.KEY=VALUE.
func filter(text string) (func(labels map[string]string) bool, error) {
	if text == "" {
		return func(map[string]string) bool { return true }, nil
	}
	rest, ok := strings.CutPrefix(text, "labels.")
	if key, is := strings.CutSuffix(rest, ":*"); ok && is {
		return func(l map[string]string) bool { _, has := l[key]; return has }, nil
	}
	key, value, is := strings.Cut(rest, "=")
	if !ok || !is {
		return nil, invalid("Invalid value for field 'filter': '%s'. Invalid list filter expression.", text)
	}
	return func(l map[string]string) bool { return l[key] == value }, nil
}

func (c *Cloud) setMetadata(r *request, i *instance) (any, error) {
	m := &computepb.Metadata{}
	if err := r.decode(m); err != nil {
		return nil, err
	}
	if m.GetFingerprint() != i.Metadata.GetFingerprint() {
		return nil, &Fault{Status: http.StatusPreconditionFailed, Reason: "conditionNotMet", Message: "Supplied fingerprint does not match current metadata fingerprint."}
	}
	i.busy = true
	return c.start(r, "setMetadata", i.GetId(), i.GetSelfLink(), func() error { return nil }, func(failed *Fault) {
		i.busy = false
		if failed == nil {
			i.Metadata = &computepb.Metadata{Items: m.Items, Fingerprint: proto.String(c.fingerprint())}
		}
	}), nil
}

func last(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func (c *Cloud) getMachineType(r *request) (any, error) {
	t, ok := machineTypes[r.Name]
	if !ok {
		return nil, notFound(c.path("zones", r.Zone, "machineTypes", r.Name))
	}
	return &computepb.MachineType{Name: proto.String(r.Name), GuestCpus: proto.Int32(int32(t.cpus)), MemoryMb: proto.Int32(int32(t.memoryMB))}, nil
}
