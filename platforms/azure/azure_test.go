package azure_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/job"
	lab "imageport/lab/azure"
	"imageport/platforms"
	"imageport/platforms/azure"
	"imageport/platforms/platformtest"
)

func TestConfig(t *testing.T) {
	good := azure.Config{
		Credential: func(context.Context, string) (azure.Credential, error) { return azure.Credential{}, nil },
		Appliance:  "ce.vhd", Gallery: lab.GalleryID(),
	}
	platformtest.Refuses(t, good, func(c azure.Config) error {
		_, err := azure.New(c)
		return err
	}, map[string]func(*azure.Config){
		"no source of credentials": func(c *azure.Config) { c.Credential = nil },
		"want either":              func(c *azure.Config) { c.Appliance = "" },
		"belong together":          func(c *azure.Config) { c.Gallery = "" },
		"want /subscriptions":      func(c *azure.Config) { c.Gallery = lab.GalleryID() + "/images/x" },
		"invalid resource ID":      func(c *azure.Config) { c.Gallery = "gallery" },
		"or a managed image":       func(c *azure.Config) { c.Appliance, c.Gallery, c.Image = "", "", lab.GalleryID() },
		"resource group":           func(c *azure.Config) { c.ResourceGroup = "a/b" },
		"VM size":                  func(c *azure.Config) { c.VMSize = "big one" },
		"disk type":                func(c *azure.Config) { c.DiskType = "fast!" },
		"poll interval":            func(c *azure.Config) { c.PollInterval = -1 },
	})
}

// What a request lacks, and what it must not ask for, is said by name.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p, err := azure.New(h.config())
	if err != nil {
		t.Fatal(err)
	}
	platformtest.Refuses(t, h.where, func(w job.Target) error {
		_, err := p.Open(t.Context(), w)
		return err
	}, map[string]func(*job.Target){
		"no subscriptionId":           func(w *job.Target) { w.SubscriptionID = "" },
		"subscriptionId: Azure has":   func(w *job.Target) { w.SubscriptionID = "mine" },
		"no azureRegion":              func(w *job.Target) { w.AzureRegion = "" },
		"azureRegion: Azure":          func(w *job.Target) { w.AzureRegion = "Mars/North" },
		"no resourceGroup":            func(w *job.Target) { w.ResourceGroup = "" },
		"resourceGroup: Azure":        func(w *job.Target) { w.ResourceGroup = "a/../b" },
		"virtualNetworkResourceGroup": func(w *job.Target) { w.VirtualNetworkResourceGroupName = "" },
		"no virtualNetworkName":       func(w *job.Target) { w.VirtualNetworkName = "" },
		"virtualNetworkSubnetName":    func(w *job.Target) { w.VirtualNetworkSubnetName = "a?b" },
		"targetDiskResourceGroupName": func(w *job.Target) { w.TargetDiskResourceGroupName = "x." },
		"azureVmSize":                 func(w *job.Target) { w.AzureVMSize = "a b" },
		"usePublicIP":                 func(w *job.Target) { w.UsePublicIP = true },
		"no platformCredentialId":     func(w *job.Target) { w.PlatformCredentialID = "" },
	})
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open(t.Context(), h.where); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("after Close: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	certificate := certificate(t)
	ids := azure.Credential{TenantID: lab.TenantID, ClientID: lab.ClientID}
	with := func(change func(*azure.Credential)) azure.Credential {
		c := ids
		change(&c)
		return c
	}
	for what, tc := range map[string]struct {
		credential azure.Credential
		kind       platforms.Kind
	}{
		"none":               {ids, platforms.BadRequest},
		"secret":             {with(func(c *azure.Credential) { c.Secret = h.cloud.Secret() }), ""},
		"certificate":        {with(func(c *azure.Credential) { c.CertificatePEM = certificate }), ""},
		"no certificate":     {with(func(c *azure.Credential) { c.CertificatePEM = []byte("x") }), platforms.BadRequest},
		"two ways":           {with(func(c *azure.Credential) { c.Secret, c.CertificatePEM = "x", certificate }), platforms.BadRequest},
		"secret, no tenant":  {azure.Credential{ClientID: "x", Secret: "x"}, platforms.BadRequest},
		"secret, bad tenant": {azure.Credential{TenantID: "a b/c", ClientID: "x", Secret: "x"}, platforms.BadRequest},
		"managed":            {azure.Credential{ManagedIdentity: true}, ""},
		"managed, assigned":  {azure.Credential{ManagedIdentity: true, ClientID: lab.ClientID}, ""},
		"managed, tenant":    {azure.Credential{ManagedIdentity: true, TenantID: lab.TenantID}, platforms.BadRequest},
		"workload":           {with(func(c *azure.Credential) { c.WorkloadIdentity, c.TokenFile = true, "/var/run/token" }), ""},
		"workload, no file":  {with(func(c *azure.Credential) { c.WorkloadIdentity = true }), platforms.BadRequest},
		"secret and file":    {with(func(c *azure.Credential) { c.Secret, c.TokenFile = "x", "y" }), platforms.BadRequest},
	} {
		cfg := h.config()
		cfg.Credential = func(context.Context, string) (azure.Credential, error) { return tc.credential, nil }
		p, err := azure.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Open(t.Context(), h.where); platforms.KindOf(err) != tc.kind {
			t.Errorf("%s: %v; want %q", what, err, tc.kind)
		}
	}
	cfg := h.config()
	cfg.Credential = func(context.Context, string) (azure.Credential, error) {
		return with(func(c *azure.Credential) { c.Secret = "wrong-secret" }), nil
	}
	err := platformtest.NewCall(h, platformtest.Check).Do(t.Context(), h.open(t, cfg))
	if platforms.KindOf(err) != platforms.Denied || !strings.Contains(err.Error(), "AADSTS7000215") || strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("a wrong secret: %v", err)
	}
	cfg.Credential = func(context.Context, string) (azure.Credential, error) {
		return azure.Credential{}, job.Errorf(job.UnknownCredential, "remedy", "no such credential")
	}
	p, err := azure.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open(t.Context(), h.where); job.CodeOf(err) != job.UnknownCredential {
		t.Errorf("the wallet's own error: %v", err)
	}
}

// certificate makes a certificate with its key.
func certificate(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "imageport"}, NotAfter: platformtest.Deadline}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
}

// What is not there is refused before anything is made.
func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(raw, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	version, err := h.cloud.AddImage(raw)
	if err != nil {
		t.Fatal(err)
	}
	managed, err := h.cloud.AddManagedImage("ce", raw)
	if err != nil {
		t.Fatal(err)
	}
	image := func(id string) func(*azure.Config, *job.Target) {
		return func(c *azure.Config, _ *job.Target) { c.Appliance, c.Gallery, c.Image = "", "", id }
	}
	for what, tc := range map[string]struct {
		change func(*azure.Config, *job.Target)
		kind   platforms.Kind
		in     string
	}{
		"as it is":        {func(*azure.Config, *job.Target) {}, "", ""},
		"region's name":   {func(_ *azure.Config, w *job.Target) { w.AzureRegion = "West Europe" }, "", ""},
		"group":           {func(_ *azure.Config, w *job.Target) { w.ResourceGroup = "nowhere" }, platforms.NotFound, "'nowhere' could not be found"},
		"target group":    {func(_ *azure.Config, w *job.Target) { w.TargetDiskResourceGroupName = "nowhere" }, platforms.NotFound, "'nowhere'"},
		"network's group": {func(_ *azure.Config, w *job.Target) { w.VirtualNetworkResourceGroupName = "nowhere" }, platforms.NotFound, "'nowhere'"},
		"VM size":         {func(_ *azure.Config, w *job.Target) { w.AzureVMSize = "Standard_X1" }, platforms.BadRequest, "has no VM size Standard_X1"},
		"gallery":         {func(c *azure.Config, _ *job.Target) { c.Gallery += "x" }, platforms.NotFound, "galleryx"},
		"another's gallery": {func(c *azure.Config, _ *job.Target) {
			c.Gallery = strings.Replace(c.Gallery, "aaaa/", "aaab/", 1)
		}, platforms.BadRequest, "shared with it"},
		"no VHD":              {func(c *azure.Config, _ *job.Target) { c.Appliance += "x" }, platforms.NotFound, "no such file"},
		"raw":                 {func(c *azure.Config, _ *job.Target) { c.Appliance = raw }, platforms.BadRequest, "whole MiB"},
		"version":             {image(version), "", ""},
		"managed image":       {image(managed), "", ""},
		"no version":          {image(version + "1"), platforms.NotFound, "1.0.01"},
		"no managed image":    {image(managed + "1"), platforms.NotFound, "ce1"},
		"of another, version": {image(strings.Replace(version, "aaaa/", "aaab/", 1)), "", ""},
		"in another region":   {func(c *azure.Config, w *job.Target) { image(version)(c, w); w.AzureRegion = "northeurope" }, platforms.BadRequest, "not in the region northeurope"},
	} {
		cfg, where := h.config(), h.where
		tc.change(&cfg, &where)
		err := platformtest.NewCall(h, platformtest.Check).Do(t.Context(), open(t, cfg, where))
		if platforms.KindOf(err) != tc.kind || err != nil && !strings.Contains(err.Error(), tc.in) {
			t.Errorf("%s: %v; want %q with %q", what, err, tc.kind, tc.in)
		}
	}
	h.cloud.SetCores(1)
	if err := platformtest.NewCall(h, platformtest.Check).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Full || !strings.Contains(err.Error(), "0 of 1 cores") {
		t.Errorf("no quota: %v", err)
	}
	if err := platformtest.NewCall(h, platformtest.Create).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Full {
		t.Errorf("no quota, Create: %v", err)
	}
	h.cloud.SetCores(2)
	for _, id := range []string{version, managed} {
		cfg, where := h.config(), h.where
		image(id)(&cfg, &where)
		d := open(t, cfg, where)
		if err := platformtest.NewCall(h, platformtest.Create).Do(t.Context(), d); err != nil {
			t.Errorf("from %s: %v", id, err)
		}
		if err := platformtest.NewCall(h, platformtest.Check).Do(t.Context(), d); err != nil {
			t.Errorf("with the quota used up by the CE itself: %v", err)
		}
		platformtest.Clean(t, h)
	}
	where := h.where
	where.VirtualNetworkSubnetName = "other"
	if err := platformtest.NewCall(h, platformtest.Create).Do(t.Context(), open(t, h.config(), where)); platforms.KindOf(err) != platforms.NotFound || !strings.Contains(err.Error(), "subnets/other") {
		t.Errorf("no such subnet: %v", err)
	}
}

// What a CE is made with.
func TestMachine(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := platformtest.NewCall(h, platformtest.Create)
	call.CE.Job = "ips/files/pvs/" + strings.Repeat("ü", 400) // longer than a tag may be
	if err := call.Do(t.Context(), h.Open(t)); err != nil {
		t.Fatal(err)
	}
	in, err := h.Open(t).Find(t.Context(), call.CE.Name)
	if err != nil || in.Job != call.CE.Job || in.Owner != call.CE.Owner || in.RunID != call.CE.RunID {
		t.Errorf("found %+v, %v", in, err)
	}
	for _, r := range h.cloud.Resources() {
		if r.Kind == "imageVersion" {
			if len(r.Tags["imageport-sha256"]) != 64 {
				t.Errorf("the image has the tags %v", r.Tags)
			}
			continue
		}
		if r.Tags["imageport-ce"] != call.CE.Name || r.Tags["imageport-owner"] != call.CE.Owner || r.Tags["imageport-job"] == "" {
			t.Errorf("%s %s has the tags %v", r.Kind, r.Name, r.Tags)
		}
		for name, value := range r.Tags {
			if len(value) > 256 {
				t.Errorf("tag %s has %d bytes", name, len(value))
			}
		}
	}
	ref, err := h.Open(t).(platforms.OutputDisks).AddOutputDisk(t.Context(), call.CE.Name, h.OutputDisk(0))
	if err != nil || !strings.HasPrefix(ref.Selector, "lun:") || ref.Selector == "lun:0" || ref.Selector == "lun:1" {
		t.Errorf("the disk is %+v, %v", ref, err)
	}
	if err := h.Open(t).Destroy(t.Context(), call.CE.Name); err != nil {
		t.Fatal(err)
	}
}

// Throttling says when to come again.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.cloud.Fail("VirtualMachinesClient.Get", throttled, 0)
	_, err := h.Open(t).Find(t.Context(), "ce-0123456789ab")
	var e *platforms.Error
	if !errors.As(err, &e) || e.Kind != platforms.Busy || e.RetryAfter != throttled.RetryAfter {
		t.Errorf("%+v", err)
	}
	if j := platforms.JobError(job.PlatformAzure, err); j.RetryAfter != throttled.RetryAfter {
		t.Errorf("the job waits %v", j.RetryAfter)
	}
}

// The output disk is made in the CE's group where the request names no other.
func TestSameGroup(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.where.TargetDiskResourceGroupName = ""
	platformtest.Do(t, h, platformtest.Create, platformtest.AddDisk, platformtest.KeepDisk, platformtest.KeepDisk, platformtest.Destroy)
	r, ok := h.resource("disk", "Disk-0")
	if !ok || r.Group != lab.Group || r.State != "Succeeded" {
		t.Errorf("there is %+v", h.cloud.Resources())
	}
	platformtest.Do(t, h, platformtest.Create) // it is not taken for something left behind
	if _, ok := h.resource("disk", "Disk-0"); !ok {
		t.Error("the next CE removed it")
	}
	platformtest.Do(t, h, platformtest.Destroy)
	if _, ok := h.resource("disk", "Disk-0"); !ok {
		t.Error("it went with the next CE")
	}
}

// A kept disk says which VMs can start from it.
func TestGeneration(t *testing.T) {
	t.Parallel()
	for firmware, want := range map[job.Firmware]string{"": "", job.BIOS: "V1", job.UEFI: "V2"} {
		h := newHarness(t)
		platformtest.Do(t, h, platformtest.Create)
		call := platformtest.NewCall(h, platformtest.AddDisk)
		call.Disk.Firmware = firmware
		for _, verb := range []platformtest.Verb{platformtest.AddDisk, platformtest.KeepDisk} {
			call.Verb = verb
			if err := call.Do(t.Context(), h.Open(t)); err != nil {
				t.Fatal(err)
			}
		}
		found := false
		for _, x := range h.cloud.Resources() {
			if x.Kind == "disk" && x.Name == call.Disk.Name {
				found = true
				if x.Generation != want || x.Tags["imageport-firmware"] != "" {
					t.Errorf("firmware %q: the disk is %+v, want generation %q", firmware, x, want)
				}
			}
		}
		if !found {
			t.Error("there is no disk")
		}
		platformtest.Do(t, h, platformtest.Destroy)
	}
}
