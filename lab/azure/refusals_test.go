package azure_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"imageport/lab/azure"
)

// What pages are refused, and who.
func TestPages(t *testing.T) {
	t.Parallel()
	c := start(t, azure.Config{})
	data := armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionUpload), UploadSizeBytes: to.Ptr[int64](8<<20 + 512)}
	if err := c.putDisk("up", data, 0); err != nil {
		t.Fatal(err)
	}
	p, err := c.disks.BeginGrantAccess(t.Context(), azure.Group, "up", armcompute.GrantAccessData{Access: to.Ptr(armcompute.AccessLevelWrite), DurationInSeconds: to.Ptr[int32](60)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	access, err := p.PollUntilDone(t.Context(), &runtime.PollUntilDoneOptions{Frequency: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	put := func(address, pages string, n int) int {
		req := httptest.NewRequest(http.MethodPut, address+"&comp=page", io.LimitReader(zeros{}, int64(n)))
		req.Header.Set("x-ms-page-write", "update")
		req.Header.Set("x-ms-range", pages)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	good := *access.AccessSAS
	for what, tc := range map[string]struct {
		address, pages string
		n, status      int
	}{
		"a sector":      {good, "bytes=512-1023", 512, 201},
		"4 MiB":         {good, "bytes=0-4194303", 4 << 20, 201},
		"the footer":    {good, "bytes=8388608-8389119", 512, 201},
		"more":          {good, "bytes=0-4194815", 4<<20 + 512, 413},
		"behind":        {good, "bytes=8389120-8389631", 512, 416},
		"no sector":     {good, "bytes=1-512", 512, 416},
		"no range":      {good, "bytes=x", 512, 416},
		"short":         {good, "bytes=0-1023", 512, 400},
		"no signature":  {strings.Split(good, "sig=")[0] + "sig=", "bytes=0-511", 512, 403},
		"bad signature": {good + "x", "bytes=0-511", 512, 403},
	} {
		if got := put(tc.address, tc.pages, tc.n); got != tc.status {
			t.Errorf("%s: %d, want %d", what, got, tc.status)
		}
	}
	if err := finish(c.disks.BeginRevokeAccess(t.Context(), azure.Group, "up", nil)); err != nil {
		t.Error(err)
	}
	if got := put(good, "bytes=0-511", 512); got != 403 {
		t.Errorf("after the end: %d", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Nobody gets in without a token, or does what the role does not allow.
func TestRefusals(t *testing.T) {
	t.Parallel()
	var calls []string
	broken := errors.New("broken")
	c := start(t, azure.Config{Polls: 3, Cores: 3, Before: func(call string) error {
		calls = append(calls, call)
		if call == "DisksClient.Get" {
			return broken
		}
		return nil
	}})
	resp, err := c.Do(httptest.NewRequest(http.MethodDelete, "https://management.azure.com"+*diskID("x"), nil))
	if err != nil || resp.StatusCode != 401 {
		t.Errorf("without a token: %+v, %v", resp, err)
	}
	if _, err := c.disks.Get(t.Context(), azure.Group, "x", nil); !errors.Is(err, broken) {
		t.Errorf("a connection that breaks: %v", err)
	}
	if err := c.put("one"); err != nil {
		t.Fatal(err)
	}
	if n := len(slices.DeleteFunc(slices.Clone(calls), func(s string) bool { return s != "operation" })); n < 4 {
		t.Errorf("it was asked %d times, %q", n, calls)
	}
	wantCode(t, "one too many", c.put("two"), 409, "OperationNotAllowed")
	c.Revoke("Microsoft.Network/*")
	wantCode(t, "a linked action", c.put("two"), 403, "LinkedAuthorizationFailed")
	c.Revoke("*/virtualMachines/write")
	wantCode(t, "an action", c.put("two"), 403, "AuthorizationFailed")
	c.Heal()
	c.Fail("VirtualMachinesClient.BeginDelete", azure.Fault{Status: 429, Code: "TooManyRequests", Message: "x", RetryAfter: 5 * time.Second}, 1)
	err = finish(c.vms.BeginDelete(t.Context(), azure.Group, "one", nil))
	wantCode(t, "throttled", err, 429, "TooManyRequests")
	var re *azcore.ResponseError
	if errors.As(err, &re) && re.RawResponse.Header.Get("Retry-After") != "5" {
		t.Errorf("it says %v", re.RawResponse.Header)
	}
	c.EndSessions()
	if err := finish(c.vms.BeginDelete(t.Context(), azure.Group, "one", nil)); err != nil {
		t.Errorf("with a token that was revoked: %v", err)
	}
	group := "nowhere"
	_, err = c.vms.Get(t.Context(), group, "x", nil)
	wantCode(t, "no such group", err, 404, "ResourceGroupNotFound")
}

// The parser of requests takes anything.
func FuzzRequest(f *testing.F) {
	f.Add("PUT", "/subscriptions/"+azure.SubscriptionID+"/resourceGroups/imageport/providers/Microsoft.Compute/virtualMachines/x?api-version=1", "{}")
	f.Add("PUT", "/subscriptions/"+azure.SubscriptionID+"/resourceGroups/imageport/providers/Microsoft.Compute/virtualMachines/x", `{"location":"westeurope","properties":{"hardwareProfile":{"vmSize":"Standard_B1s"},"storageProfile":{"osDisk":{},"imageReference":{"id":""}},"networkProfile":{"networkApiVersion":"x","networkInterfaceConfigurations":[null]}}}`)
	f.Add("PUT", "/subscriptions/"+azure.SubscriptionID+"/resourceGroups/imageport/providers/Microsoft.Compute/disks/x", `{"location":"westeurope","properties":{"creationData":{"createOption":"Copy"}}}`)
	f.Add("POST", "/subscriptions/"+azure.SubscriptionID+"/resourceGroups/imageport/providers/Microsoft.Compute/virtualMachines/given/attachDetachDataDisks", `{"dataDisksToAttach":[null],"dataDisksToDetach":[null]}`)
	f.Add("PUT", "/subscriptions/"+azure.SubscriptionID+"/resourceGroups/images/providers/Microsoft.Compute/galleries/gallery/images/given/versions/2.0.0", `{"properties":{"publishingProfile":{"targetRegions":[null]}}}`)
	f.Add("GET", "/subscriptions/"+azure.SubscriptionID+"/providers/Microsoft.Compute/locations/westeurope/operations/x", "")
	cloud, err := azure.Start(azure.Config{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(cloud.Close)
	cloud.AddMachine(azure.Group, "given")
	token, err := azidentity.NewClientSecretCredential(azure.TenantID, azure.ClientID, cloud.Secret(), &azidentity.ClientSecretCredentialOptions{ClientOptions: policy.ClientOptions{Transport: cloud}})
	if err != nil {
		f.Fatal(err)
	}
	access, err := token.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://management.core.windows.net//.default"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "https://management.azure.com"+path, strings.NewReader(body))
		if err != nil {
			return
		}
		req.Header.Set("Authorization", "Bearer "+access.Token)
		resp, err := cloud.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode < 200 || resp.StatusCode > 599 {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
}
