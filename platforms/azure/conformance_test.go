package azure_test

import (
	"cmp"
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"imageport/job"
	lab "imageport/lab/azure"
	"imageport/platforms/azure"
	"imageport/platforms/platformtest"
)

// TestConformance runs against a simulated subscription for each case.
//
// With IMAGEPORT_AZURE_SUBSCRIPTION (an id) it runs against that one, case after
// case, which takes hours. The other variables then are IMAGEPORT_AZURE_TENANT,
// _CLIENT and _SECRET, _REGION, _GROUP and _OUTPUT_GROUP (two resource groups,
// there and empty), _NETWORK_GROUP, _NETWORK and _SUBNET, and _IMAGE, the
// resource id of a version of an image with the appliance, in that region. The
// application needs the role of docs/azure-role.json in all these groups.
func TestConformance(t *testing.T) {
	platformtest.RunOn(t, "IMAGEPORT_AZURE_SUBSCRIPTION", realHarness, newHarness)
}

func realHarness(t *testing.T) *anyHarness {
	t.Helper()
	env := func(name string) string { return os.Getenv("IMAGEPORT_AZURE_" + name) }
	where := job.Target{Platform: job.PlatformAzure, PlatformCredentialID: "azure"}
	where.Azure = job.Azure{
		SubscriptionID: env("SUBSCRIPTION"), AzureRegion: env("REGION"), ResourceGroup: env("GROUP"), TargetDiskResourceGroupName: env("OUTPUT_GROUP"),
		VirtualNetworkResourceGroupName: env("NETWORK_GROUP"), VirtualNetworkName: env("NETWORK"), VirtualNetworkSubnetName: env("SUBNET"),
	}
	credential := azure.Credential{TenantID: env("TENANT"), ClientID: env("CLIENT"), Secret: env("SECRET")}
	token, err := azidentity.NewClientSecretCredential(credential.TenantID, credential.ClientID, credential.Secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	config := func() azure.Config {
		return azure.Config{
			Credential: func(context.Context, string) (azure.Credential, error) { return credential, nil }, Image: env("IMAGE"),
		}
	}
	return &anyHarness{
		world: newSubscription(t, where, env("IMAGE"), token, nil, 2*time.Second), where: where, config: config,
	}
}

// What the tests see of a real subscription is what there is: the eye for one
// looks at a simulated one.
func TestSubscriptionSeen(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, verb := range []platformtest.Verb{platformtest.Create, platformtest.AddDisk, platformtest.KeepDisk, platformtest.AddDisk} {
		call := platformtest.NewCall(h, verb)
		if h.Outputs(t) != nil && verb == platformtest.AddDisk {
			call.Disk = h.OutputDisk(1)
		}
		if err := call.Do(t.Context(), h.Open(t)); err != nil {
			t.Fatal(err)
		}
	}
	options := policy.ClientOptions{Transport: h.cloud}
	token, err := azidentity.NewClientSecretCredential(lab.TenantID, lab.ClientID, h.cloud.Secret(), &azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	image := ""
	for _, r := range h.cloud.Resources() {
		if r.Kind == "imageVersion" {
			image = r.Ref
		}
	}
	s := newSubscription(t, h.where, image, token, h.cloud, time.Millisecond)
	s.AddMachine(lab.Group, "ce-0123456789ab")
	s.GuestEnded("ce-0123456789ab")
	if err := s.AddDisk(lab.OutputGroup, "theirs", 1<<30); err != nil {
		t.Fatal(err)
	}
	s.Wait()
	type seen struct{ kind, group, name, state, power, attached, ce, ref string }
	see := func(all []lab.Resource) (list []seen) {
		for _, r := range all {
			if r.Kind != "imageVersion" {
				list = append(list, seen{r.Kind, r.Group, r.Name, r.State, r.Power, r.AttachedTo, r.Tags["imageport-ce"], r.Ref})
			}
		}
		slices.SortFunc(list, func(a, b seen) int { return cmp.Compare(a.ref, b.ref) })
		return list
	}
	if got, want := see(s.Resources()), see(h.cloud.Resources()); !slices.Equal(got, want) || len(got) != 9 {
		t.Errorf("seen are %+v; there are %+v", got, want)
	}
}
