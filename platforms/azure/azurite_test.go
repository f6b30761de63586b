//go:build peer

package azure_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"imageport/platforms/azure"
)

// TestAzurite uploads an appliance to Azurite, Microsoft's simulator of storage,
// which knows nothing of ours. It is for machines with Node.js:
//
//	npm ci --prefix platforms/azure/azurite --no-audit --no-fund --ignore-scripts
//	go test -tags peer ./platforms/azure -run TestAzurite
func TestAzurite(t *testing.T) {
	service := startAzurite(t, "azurite/node_modules/azurite")
	// The account and the key that every Azurite has.
	const account, secret = "devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
	key, err := blob.NewSharedKeyCredential(account, secret)
	if err != nil {
		t.Fatal(err)
	}
	c, err := container.NewClientWithSharedKeyCredential("http://"+service+"/"+account+"/vhds", key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	vhd := testVHD(t)
	want, err := os.ReadFile(vhd)
	if err != nil {
		t.Fatal(err)
	}
	b := c.NewPageBlobClient("ce.vhd")
	if _, err := b.Create(t.Context(), int64(len(want)), nil); err != nil {
		t.Fatal(err)
	}
	address, err := b.GetSASURL(sas.BlobPermissions{Write: true}, time.Now().Add(time.Hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second upload changes nothing
		if err := azure.Fill(t.Context(), address, vhd); err != nil {
			t.Fatal(err)
		}
	}
	res, err := b.DownloadStream(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back of %d, or others; %v", len(got), len(want), err)
	}
	pages := 0
	for pager := b.NewGetPageRangesPager(nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.PageRange {
			pages += int(*r.End + 1 - *r.Start)
		}
	}
	if want := 5<<20 + 512; pages != want {
		t.Errorf("%d bytes were written, want %d: no pages of zeros", pages, want)
	}
	if err := azure.Fill(t.Context(), address+"x", vhd); err == nil {
		t.Error("another signature is as good")
	}
}

// startAzurite starts one on this machine, and gives its host and port.
func startAzurite(t *testing.T, module string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "node", filepath.Join(module, "dist/src/blob/main.js"),
		"--blobHost", host, "--blobPort", port, "--location", t.TempDir(), "--skipApiVersionCheck", "--disableTelemetry", "--silent")
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return address
		}
		if time.Now().After(end) {
			t.Fatalf("Azurite does not listen: %v", err)
		}
	}
}
