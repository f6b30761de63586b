package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8/fake"
)

var _ policy.Transporter = (*Cloud)(nil)

// The hosts that there are.
const (
	loginHost   = "login.microsoftonline.com"
	managerHost = "management.azure.com"
	blobDomain  = ".blob.storage.azure.net"
)

// route is what a request asks for.
type route struct {
	call    string   // its name in the SDK, or ours
	actions []string // that it needs the right to, in the resource group, or in the subscription
}

// routes are all calls, by method and kinds of resources. That of a collection
// ends with a slash.
var routes = map[string]route{
	"PUT Microsoft.Compute/virtualMachines":                        {"VirtualMachinesClient.BeginCreateOrUpdate", []string{"Microsoft.Compute/virtualMachines/write"}},
	"PATCH Microsoft.Compute/virtualMachines":                      {"VirtualMachinesClient.BeginUpdate", []string{"Microsoft.Compute/virtualMachines/write"}},
	"GET Microsoft.Compute/virtualMachines":                        {"VirtualMachinesClient.Get", []string{"Microsoft.Compute/virtualMachines/read"}},
	"DELETE Microsoft.Compute/virtualMachines":                     {"VirtualMachinesClient.BeginDelete", []string{"Microsoft.Compute/virtualMachines/delete"}},
	"GET Microsoft.Compute/virtualMachines/":                       {"VirtualMachinesClient.NewListPager", []string{"Microsoft.Compute/virtualMachines/read"}},
	"POST Microsoft.Compute/virtualMachines/start":                 {"VirtualMachinesClient.BeginStart", []string{"Microsoft.Compute/virtualMachines/start/action"}},
	"POST Microsoft.Compute/virtualMachines/powerOff":              {"VirtualMachinesClient.BeginPowerOff", []string{"Microsoft.Compute/virtualMachines/powerOff/action"}},
	"POST Microsoft.Compute/virtualMachines/deallocate":            {"VirtualMachinesClient.BeginDeallocate", []string{"Microsoft.Compute/virtualMachines/deallocate/action"}},
	"POST Microsoft.Compute/virtualMachines/attachDetachDataDisks": {"VirtualMachinesClient.BeginAttachDetachDataDisks", []string{"Microsoft.Compute/virtualMachines/attachDetachDataDisks/action", "Microsoft.Compute/virtualMachines/write", "Microsoft.Compute/disks/read", "Microsoft.Compute/disks/write"}},
	"PUT Microsoft.Compute/disks":                                  {"DisksClient.BeginCreateOrUpdate", []string{"Microsoft.Compute/disks/write"}},
	"GET Microsoft.Compute/disks":                                  {"DisksClient.Get", []string{"Microsoft.Compute/disks/read"}},
	"DELETE Microsoft.Compute/disks":                               {"DisksClient.BeginDelete", []string{"Microsoft.Compute/disks/delete"}},
	"GET Microsoft.Compute/disks/":                                 {"DisksClient.NewListByResourceGroupPager", []string{"Microsoft.Compute/disks/read"}},
	"POST Microsoft.Compute/disks/beginGetAccess":                  {"DisksClient.BeginGrantAccess", []string{"Microsoft.Compute/disks/beginGetAccess/action"}},
	"POST Microsoft.Compute/disks/endGetAccess":                    {"DisksClient.BeginRevokeAccess", []string{"Microsoft.Compute/disks/endGetAccess/action"}},
	"GET Microsoft.Compute/images":                                 {"ImagesClient.Get", []string{"Microsoft.Compute/images/read"}},
	"GET Microsoft.Compute/galleries":                              {"GalleriesClient.Get", []string{"Microsoft.Compute/galleries/read"}},
	"PUT Microsoft.Compute/galleries/images":                       {"GalleryImagesClient.BeginCreateOrUpdate", []string{"Microsoft.Compute/galleries/images/write"}},
	"GET Microsoft.Compute/galleries/images":                       {"GalleryImagesClient.Get", []string{"Microsoft.Compute/galleries/images/read"}},
	"PUT Microsoft.Compute/galleries/images/versions":              {"GalleryImageVersionsClient.BeginCreateOrUpdate", []string{"Microsoft.Compute/galleries/images/versions/write"}},
	"GET Microsoft.Compute/galleries/images/versions":              {"GalleryImageVersionsClient.Get", []string{"Microsoft.Compute/galleries/images/versions/read"}},
	"DELETE Microsoft.Compute/galleries/images/versions":           {"GalleryImageVersionsClient.BeginDelete", []string{"Microsoft.Compute/galleries/images/versions/delete"}},
	"GET Microsoft.Compute/locations/vmSizes/":                     {"VirtualMachineSizesClient.NewListPager", []string{"Microsoft.Compute/locations/vmSizes/read"}},
	"GET Microsoft.Compute/locations/usages/":                      {"UsageClient.NewListPager", []string{"Microsoft.Compute/locations/usages/read"}},
	"GET Microsoft.Network/networkInterfaces/":                     {"networkInterfaces.list", []string{"Microsoft.Network/networkInterfaces/read"}},
	"DELETE Microsoft.Network/networkInterfaces":                   {"networkInterfaces.delete", []string{"Microsoft.Network/networkInterfaces/delete"}},
	"GET Microsoft.Authorization/permissions/":                     {"permissions.list", []string{"Microsoft.Authorization/permissions/read"}},
	"GET Microsoft.Compute/locations/operations":                   {"operation", nil},
	"GET Microsoft.Compute/locations/operations/result/":           {"operation", nil},
}

// path is a resource's.
type path struct {
	group, kind string   // kind as in routes
	names       []string // of the resource, and of those that it is in
}

// parsePath reads /subscriptions/S[/resourceGroups/G]/providers/NS/KIND[/NAME/KIND…].
func parsePath(p string) (path, bool) {
	parts := strings.Split(strings.Trim(p, "/"), "/")
	if len(parts) < 2 || !strings.EqualFold(parts[0], "subscriptions") || parts[1] != SubscriptionID {
		return path{}, false
	}
	parts = parts[2:]
	var at path
	if len(parts) >= 2 && strings.EqualFold(parts[0], "resourceGroups") {
		at.group, parts = parts[1], parts[2:]
	}
	if len(parts) < 3 || parts[0] != "providers" {
		return path{}, false
	}
	at.kind, parts = parts[1], parts[2:]
	for i, part := range parts {
		if i%2 == 1 {
			at.names = append(at.names, part)
			continue
		}
		at.kind += "/" + part
	}
	if len(parts)%2 == 1 {
		at.kind += "/"
	}
	return at, true
}

// Do implements policy.Transporter.
func (c *Cloud) Do(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	// What has arrived is done, whether or not somebody still waits.
	body, err := readBody(req)
	if err != nil {
		return nil, err
	}
	server := req.Clone(context.WithoutCancel(req.Context()))
	server.Body = io.NopCloser(bytes.NewReader(body))
	server.Header = make(http.Header, len(req.Header))
	for name, values := range req.Header { // as they arrive: the SDK writes some in small letters
		for _, v := range values {
			server.Header.Add(name, v)
		}
	}
	type result struct {
		*http.Response
		error
	}
	done := make(chan result, 1)
	serve := func() {
		resp, err := c.serve(server)
		if resp != nil {
			resp.Request = req
		}
		done <- result{resp, err}
	}
	if c.held(server) == 0 {
		serve()
	} else {
		c.work.Go(serve)
	}
	select {
	case <-req.Context().Done():
		return nil, req.Context().Err()
	case r := <-done:
		return r.Response, r.error
	}
}

// held gives for how long a request is held.
func (c *Cloud) held(req *http.Request) time.Duration {
	r, _, ok := find(req)
	if !ok {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holds[r.call]
}

// maxBody bounds what is read of a request.
const maxBody = 8 << 20

func readBody(req *http.Request) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	defer req.Body.Close()
	b, err := io.ReadAll(io.LimitReader(req.Body, maxBody+1))
	if err == nil && len(b) > maxBody {
		err = fmt.Errorf("azure: a request of more than %d bytes", maxBody)
	}
	return b, err
}

// find gives what the request asks for.
func find(req *http.Request) (route, path, bool) {
	at, ok := parsePath(req.URL.Path)
	if !ok {
		return route{}, path{}, false
	}
	method, kind := req.Method, at.kind
	if method == http.MethodPost {
		kind = strings.TrimSuffix(kind, "/") // an action, which has no name
	}
	r, ok := routes[method+" "+kind]
	return r, at, ok
}

func (c *Cloud) serve(req *http.Request) (*http.Response, error) {
	host := req.URL.Hostname()
	call := host
	r, at, known := find(req)
	switch {
	case host == loginHost:
		call = "login"
	case strings.HasSuffix(host, blobDomain):
		call = "blob"
	case known:
		call = r.call
	}
	if c.cfg.Before != nil {
		if err := c.cfg.Before(call); err != nil {
			return nil, err
		}
	}
	if hold := c.held(req); hold > 0 {
		timer := time.NewTimer(hold)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.ending:
		}
	}
	c.mu.Lock()
	f := c.take(call, false)
	c.mu.Unlock()
	switch {
	case f != nil:
		return c.refuse(f)
	case call == "login":
		return c.login(req)
	case call == "blob":
		return c.blob(req)
	case host != managerHost || !known:
		return c.refuse(refusal(404, "InvalidResourceType", "There is no %s %s%s.", req.Method, host, req.URL.Path))
	}
	if resp := c.unauthenticated(req); resp != nil {
		return resp, nil
	}
	if f := c.forbidden(r, at); f != nil {
		return c.refuse(f)
	}
	return c.resource(req, r, at)
}

// forbidden refuses who has no right, and what there is not.
func (c *Cloud) forbidden(r route, at path) *Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, action := range r.actions {
		if !c.allowed(action) {
			return denied(action, "/subscriptions/"+SubscriptionID+"/resourceGroups/"+at.group)
		}
	}
	if at.group != "" && !c.hasGroup(at.group) {
		return refusal(404, "ResourceGroupNotFound", "Resource group '%s' could not be found.", at.group)
	}
	return nil
}

func denied(action, scope string) *Fault {
	return refusal(403, "AuthorizationFailed", "The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.", ClientID, ClientID, action, scope)
}

func (c *Cloud) hasGroup(name string) bool {
	for _, g := range c.groups {
		if strings.EqualFold(g, name) {
			return true
		}
	}
	return false
}

// resource serves a call for a resource: what is not the SDK's by ourselves, the
// others by its servers.
func (c *Cloud) resource(req *http.Request, r route, at path) (*http.Response, error) {
	switch r.call {
	case "operation":
		status, body := c.status(at.names[1], strings.HasSuffix(at.kind, "/result/"))
		return respond(status, body, nil)
	case "networkInterfaces.list":
		return respond(200, map[string]any{"value": c.listNICs(at.group)}, nil)
	case "networkInterfaces.delete":
		op, f := c.deleteNIC(at.group, at.names[0])
		return c.accepted(op, f)
	case "permissions.list":
		return respond(200, map[string]any{"value": c.permissions()}, nil)
	}
	var op *operation
	ctx := context.WithValue(req.Context(), runtime.CtxAPINameKey{}, r.call)
	ctx = context.WithValue(ctx, operationKey{}, &op)
	// The generated servers keep the poller of an operation by the path of its
	// resource, where two requests of the same kind would get in each other's
	// way. So each request has servers of its own, which read it and end at once;
	// the operation is ours, behind a URL as Azure has it.
	resp, err := fake.NewServerFactoryTransport(c.servers()).Do(req.WithContext(ctx))
	if f, ok := errors.AsType[*Fault](err); ok {
		return c.refuse(f)
	}
	if err != nil {
		return c.refuse(refusal(400, "InvalidRequestContent", "%v", err))
	}
	resp.Header.Del("Fake-Poller-Status")
	if op == nil {
		return resp, nil
	}
	resp.Header.Set("Azure-AsyncOperation", operationURL(op, managerHost))
	if req.Method == http.MethodPost {
		resp.Header.Set("Location", strings.Replace(operationURL(op, managerHost), "?", "/result?", 1))
	}
	if req.Method != http.MethodPut && req.Method != http.MethodPatch {
		resp.StatusCode, resp.Status = http.StatusAccepted, ""
		resp.Body, resp.ContentLength = http.NoBody, 0
	}
	return resp, nil
}

// operationKey is that of a request's operation in its context.
type operationKey struct{}

// announce says which operation has begun with the request.
func announce(ctx context.Context, op *operation) {
	if p, ok := ctx.Value(operationKey{}).(**operation); ok {
		*p = op
	}
}

// accepted answers a call with an operation that goes on, nil for none.
func (c *Cloud) accepted(op *operation, f *Fault) (*http.Response, error) {
	switch {
	case f != nil:
		return c.refuse(f)
	case op == nil:
		return respond(204, nil, nil)
	}
	return respond(202, nil, http.Header{"Azure-Asyncoperation": {operationURL(op, managerHost)}})
}

func (c *Cloud) refuse(f *Fault) (*http.Response, error) {
	h := http.Header{"X-Ms-Error-Code": {f.Code}}
	if f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(f.RetryAfter/time.Second)))
	}
	return respond(f.Status, errorBody(f), h)
}

func errorBody(f *Fault) any {
	return map[string]any{"error": map[string]string{"code": f.Code, "message": f.Message}}
}

func respond(status int, body any, header http.Header) (*http.Response, error) {
	resp := &http.Response{
		StatusCode: status, Status: strconv.Itoa(status) + " " + http.StatusText(status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, Body: http.NoBody,
	}
	if resp.Header == nil {
		resp.Header = http.Header{}
	}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("azure: %w", err)
		}
		resp.Header.Set("Content-Type", "application/json")
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	}
	return resp, nil
}
