package gce

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// maxBody bounds the bodies of calls, but for uploads.
const maxBody = 1 << 20

// request is a call as it came.
type request struct {
	Call
	raw   *http.Request
	body  []byte // when it was read
	fault *Fault // of the operation that it starts
}

// route is what answers a call.
type route struct {
	// permissions are needed by every call of the method.
	permissions []string
	handle      func(*Cloud, *request) (any, error)
}

// changing answers a call that starts an operation: once for each request id. do is
// called with the lock held.
func changing(do func(*Cloud, *request) (any, error)) func(*Cloud, *request) (any, error) {
	return func(c *Cloud, r *request) (any, error) {
		if err := r.read(); err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if op := c.again(r); op != nil {
			return op, nil
		}
		return do(c, r)
	}
}

// ofInstance is changing for an instance, which do has for its own until the
// operation is done.
func ofInstance(do func(*Cloud, *request, *instance) (any, error)) func(*Cloud, *request) (any, error) {
	return changing(func(c *Cloud, r *request) (any, error) {
		i, err := c.find(r)
		if err != nil {
			return nil, err
		}
		return do(c, r, i)
	})
}

// routes are by method. The names of methods and permissions are the API's.
var routes map[string]route

func init() {
	routes = map[string]route{
		"compute.instances.insert":                         {[]string{"compute.instances.create"}, changing((*Cloud).insertInstance)},
		"compute.instances.get":                            {[]string{"compute.instances.get"}, (*Cloud).getInstance},
		"compute.instances.list":                           {[]string{"compute.instances.list"}, (*Cloud).listInstances},
		"compute.instances.delete":                         {[]string{"compute.instances.delete"}, ofInstance((*Cloud).deleteInstance)},
		"compute.instances.stop":                           {[]string{"compute.instances.stop"}, ofInstance((*Cloud).stopInstance)},
		"compute.instances.start":                          {[]string{"compute.instances.start"}, ofInstance((*Cloud).startInstance)},
		"compute.instances.setMetadata":                    {[]string{"compute.instances.setMetadata"}, ofInstance((*Cloud).setMetadata)},
		"compute.instances.attachDisk":                     {[]string{"compute.instances.attachDisk", "compute.disks.use"}, ofInstance((*Cloud).attachDisk)},
		"compute.instances.detachDisk":                     {[]string{"compute.instances.detachDisk", "compute.disks.use"}, ofInstance((*Cloud).detachDisk)},
		"compute.disks.insert":                             {[]string{"compute.disks.create"}, changing((*Cloud).insertDisk)},
		"compute.disks.get":                                {[]string{"compute.disks.get"}, (*Cloud).getDisk},
		"compute.disks.list":                               {[]string{"compute.disks.list"}, (*Cloud).listDisks},
		"compute.disks.delete":                             {[]string{"compute.disks.delete"}, changing((*Cloud).deleteDisk)},
		"compute.images.insert":                            {[]string{"compute.images.create"}, changing((*Cloud).insertImage)},
		"compute.images.get":                               {[]string{"compute.images.get"}, (*Cloud).getImage},
		"compute.images.getFromFamily":                     {[]string{"compute.images.get"}, (*Cloud).getFromFamily},
		"compute.images.delete":                            {[]string{"compute.images.delete"}, changing((*Cloud).deleteImage)},
		"compute.images.testIamPermissions":                {nil, (*Cloud).testImage},
		"compute.machineTypes.get":                         {[]string{"compute.machineTypes.get"}, (*Cloud).getMachineType},
		"compute.subnetworks.testIamPermissions":           {nil, (*Cloud).testSubnetwork},
		"compute.zoneOperations.wait":                      {[]string{"compute.zoneOperations.get"}, (*Cloud).waitOperation},
		"compute.globalOperations.wait":                    {[]string{"compute.globalOperations.get"}, (*Cloud).waitOperation},
		"cloudresourcemanager.projects.testIamPermissions": {nil, (*Cloud).testProject},
		"storage.objects.insert":                           {[]string{"storage.objects.create"}, (*Cloud).insertObject},
		"storage.objects.delete":                           {[]string{"storage.objects.delete"}, (*Cloud).deleteObject},
		"storage.buckets.testIamPermissions":               {nil, (*Cloud).testBucket},
	}
}

// Permissions are all permissions that there are: what Deny takes.
func Permissions() []string {
	seen := make(map[string]bool)
	var all []string
	for _, r := range routes {
		for _, p := range r.permissions {
			if !seen[p] {
				seen[p] = true
				all = append(all, p)
			}
		}
	}
	for _, p := range furtherPermissions {
		if !seen[p] {
			all = append(all, p)
		}
	}
	return all
}

// furtherPermissions are those that only some calls of a method need, or none at
// all.
var furtherPermissions = []string{
	"compute.instances.setLabels", "compute.instances.setTags", "compute.instances.setServiceAccount", "compute.instances.setScheduling",
	"compute.instances.reset", "compute.instances.suspend", "compute.instances.update", "compute.disks.setLabels", "compute.disks.useReadOnly",
	"compute.disks.resize", "compute.disks.createSnapshot", "compute.images.useReadOnly", "compute.images.setLabels", "compute.subnetworks.use",
	"compute.subnetworks.useExternalIp", "compute.networks.use", "compute.projects.get", "storage.objects.get", "storage.objects.list", "storage.buckets.get",
	"iam.serviceAccounts.actAs",
}

// methodOf finds out which call a request is.
func (c *Cloud) methodOf(r *http.Request) (call Call, ok bool) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	is := func(method string, pattern ...string) bool {
		if r.Method != method || len(parts) != len(pattern) {
			return false
		}
		at := Call{}
		for i, p := range pattern {
			switch p {
			case "{project}":
				if parts[i] != c.cfg.Project {
					return false
				}
			case "{zone}":
				at.Zone = parts[i]
			case "{name}":
				at.Name = parts[i]
			default:
				if parts[i] != p {
					return false
				}
			}
		}
		call = at
		return true
	}
	v1 := []string{"compute", "v1", "projects", "{project}"}
	zonal := append(v1[:4:4], "zones", "{zone}")
	global := append(v1[:4:4], "global")
	at := func(of []string, more ...string) []string { return append(of[:len(of):len(of)], more...) }
	set := func(method string) (Call, bool) {
		call.Method = method
		return call, true
	}
	for _, kind := range []string{"instances", "disks"} {
		switch {
		case is(http.MethodPost, at(zonal, kind)...):
			return set("compute." + kind + ".insert")
		case is(http.MethodGet, at(zonal, kind)...):
			return set("compute." + kind + ".list")
		case is(http.MethodGet, at(zonal, kind, "{name}")...):
			return set("compute." + kind + ".get")
		case is(http.MethodDelete, at(zonal, kind, "{name}")...):
			return set("compute." + kind + ".delete")
		}
	}
	for _, verb := range []string{"stop", "start", "setMetadata", "attachDisk", "detachDisk"} {
		if is(http.MethodPost, at(zonal, "instances", "{name}", verb)...) {
			return set("compute.instances." + verb)
		}
	}
	switch {
	case is(http.MethodGet, at(zonal, "machineTypes", "{name}")...):
		return set("compute.machineTypes.get")
	case is(http.MethodPost, at(zonal, "operations", "{name}", "wait")...):
		return set("compute.zoneOperations.wait")
	case is(http.MethodPost, at(global, "operations", "{name}", "wait")...):
		return set("compute.globalOperations.wait")
	case is(http.MethodPost, at(global, "images")...):
		return set("compute.images.insert")
	case is(http.MethodGet, at(global, "images", "{name}")...):
		return set("compute.images.get")
	case is(http.MethodDelete, at(global, "images", "{name}")...):
		return set("compute.images.delete")
	case is(http.MethodGet, at(global, "images", "family", "{name}")...):
		return set("compute.images.getFromFamily")
	case is(http.MethodPost, at(global, "images", "{name}", "testIamPermissions")...):
		return set("compute.images.testIamPermissions")
	case is(http.MethodPost, at(v1, "regions", c.region, "subnetworks", "{name}", "testIamPermissions")...):
		return set("compute.subnetworks.testIamPermissions")
	case is(http.MethodPost, "v1", "projects", c.cfg.Project+":testIamPermissions"):
		return set("cloudresourcemanager.projects.testIamPermissions")
	case is(http.MethodPost, "upload", "storage", "v1", "b", c.cfg.Bucket, "o"):
		return set("storage.objects.insert")
	case is(http.MethodDelete, "storage", "v1", "b", c.cfg.Bucket, "o", "{name}"):
		return set("storage.objects.delete")
	case is(http.MethodGet, "storage", "v1", "b", c.cfg.Bucket, "iam", "testPermissions"):
		return set("storage.buckets.testIamPermissions")
	}
	return Call{}, false
}

// serve implements http.Handler.
func (c *Cloud) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == tokenPath {
		c.giveToken(w, r)
		return
	}
	answer, err := c.answer(r)
	if err != nil {
		writeFault(w, asFault(err))
		return
	}
	if h, ok := answer.(http.Handler); ok {
		h.ServeHTTP(w, r)
		return
	}
	var b []byte
	if m, ok := answer.(proto.Message); ok {
		b, err = protojson.Marshal(m)
	} else {
		b, err = json.Marshal(answer)
	}
	if err != nil {
		writeFault(w, asFault(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // who has gone does not read it
}

// answer does what a call asks for.
func (c *Cloud) answer(r *http.Request) (any, error) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	c.mu.Lock()
	known := c.tokens[token]
	c.mu.Unlock()
	if !known {
		return nil, &Fault{Status: http.StatusUnauthorized, Reason: "authError", Message: "Invalid Credentials"}
	}
	call, ok := c.methodOf(r)
	if !ok {
		return nil, notFound(r.URL.Path)
	}
	var fault *Fault
	if c.cfg.Before != nil {
		if err := c.cfg.Before(call); err != nil {
			fault = asFault(err)
		}
	}
	to, req := routes[call.Method], &request{Call: call, raw: r}
	c.mu.Lock()
	if fault == nil {
		fault = c.injected(call.Method)
	}
	denied := c.lacks(r.URL.Path, to.permissions...)
	c.mu.Unlock()
	switch {
	case fault != nil && fault.Code == "":
		return nil, fault
	case denied != nil:
		return nil, denied
	}
	if call.Zone != "" && !c.hasZone(call.Zone) {
		return nil, invalid("Invalid value for field 'zone': '%s'. Unknown zone.", call.Zone)
	}
	req.fault = fault
	return to.handle(c, req)
}

func (c *Cloud) hasZone(zone string) bool {
	for _, z := range c.cfg.Zones {
		if z == zone {
			return true
		}
	}
	return false
}

// read reads the body, once.
func (r *request) read() (err error) {
	if r.body == nil {
		r.body, err = io.ReadAll(io.LimitReader(r.raw.Body, maxBody+1))
	}
	if len(r.body) > maxBody {
		return invalid("Request too big")
	}
	return err
}

// decode reads the body of a call into the SDK's message. What that does not have
// is refused.
func (r *request) decode(into proto.Message) error {
	if err := r.read(); err != nil {
		return err
	}
	if err := protojson.Unmarshal(r.body, into); err != nil {
		return invalid("Invalid JSON payload received: %v", err)
	}
	return nil
}

func writeFault(w http.ResponseWriter, f *Fault) {
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.Status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{ // who has gone does not read it
		"code": f.Status, "message": f.Message,
		"errors": []map[string]string{{"reason": f.Reason, "message": f.Message, "domain": "global"}},
	}})
}

// granted is what of these permissions the account has.
func (c *Cloud) granted(asked []string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	has := []string{}
	for _, p := range asked {
		if !c.faults.denied[p] {
			has = append(has, p)
		}
	}
	return has
}

func (c *Cloud) path(parts ...string) string {
	return fmt.Sprintf("projects/%s/%s", c.cfg.Project, strings.Join(parts, "/"))
}
