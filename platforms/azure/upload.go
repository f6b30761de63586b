package azure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"

	"imageport/platforms"
	"imageport/platforms/appliancefile"
)

const (
	mib = 1 << 20
	// pageBytes is what one request writes at most (Put Page), and a whole number
	// of sectors.
	pageBytes = 4 * mib
	// footerBytes is the length of the footer of a VHD, which begins with cookie.
	footerBytes = 512
	cookie      = "conectix"
	// typeAt is where the footer says what kind of VHD it is, typeFixed that it
	// is a fixed one (Virtual Hard Disk Image Format Specification, "Hard Disk
	// Footer Format").
	typeAt, typeFixed = 63, 2
	// maxVHDBytes bounds what is taken for an appliance.
	maxVHDBytes = 16 << 30
	// sasSeconds is for how long an upload may go on.
	sasSeconds = 3600
)

// vhdContent says what is in a fixed VHD.
type vhdContent struct {
	size   int64 // with the footer
	digest [sha256.Size]byte
}

// newVHDFile gives the appliance's VHD at the path.
func newVHDFile(path string) *appliancefile.File[vhdContent] {
	return appliancefile.New(appliancefile.Kind{Name: "VHD", Format: "vhd", Section: "azure"}, path,
		func(ctx context.Context, file *os.File, size int64) (vhd vhdContent, err error) {
			if err := checkVHD(file, size); err != nil {
				return vhd, err
			}
			h := sha256.New()
			_, err = io.Copy(h, appliancefile.Until(ctx, io.NewSectionReader(file, 0, size)))
			vhd.size = size
			h.Sum(vhd.digest[:0])
			return vhd, err
		})
}

// errNotVHD says that a file is no VHD that Azure takes.
var errNotVHD = errors.New("not a fixed VHD of whole MiB")

// checkVHD refuses what Azure would, after the upload.
func checkVHD(r io.ReaderAt, size int64) error {
	if size > maxVHDBytes || size <= footerBytes || (size-footerBytes)%mib != 0 {
		return fmt.Errorf("%w: it has %d bytes, want whole MiB and a footer of %d bytes, up to %d bytes", errNotVHD, size, footerBytes, int64(maxVHDBytes))
	}
	footer := make([]byte, footerBytes)
	if _, err := r.ReadAt(footer, size-footerBytes); err != nil && err != io.EOF {
		return err
	}
	switch {
	case string(footer[:len(cookie)]) != cookie:
		return fmt.Errorf("%w: at offset %d is %q, want the footer's %q", errNotVHD, size-footerBytes, footer[:len(cookie)], cookie)
	case footer[typeAt] != typeFixed:
		return fmt.Errorf("%w: its disk type, at offset %d, is %d, want %d", errNotVHD, size-footerBytes+typeAt, footer[typeAt], typeFixed)
	}
	return nil
}

// upload makes a disk with the VHD's content, and gives its id. A disk that an
// earlier call has left is filled again: what is written there is the same.
func (d *Driver) upload(ctx context.Context, ce platforms.Spec, vhd vhdContent, name string) (string, error) {
	there, err := d.awaitDisk(ctx, d.group, name)
	if err != nil {
		return "", err
	}
	if there != nil && !emptyUpload(there, vhd) {
		if err := d.deleteDisk(ctx, d.group, name); err != nil {
			return "", err
		}
		there = nil
	}
	if there == nil {
		_, err := d.putDisk(ctx, d.group, name, armcompute.Disk{
			Location: &d.region, Tags: marks(ce), SKU: d.sku(),
			Properties: &armcompute.DiskProperties{
				CreationData: &armcompute.CreationData{CreateOption: to.Ptr(armcompute.DiskCreateOptionUpload), UploadSizeBytes: &vhd.size},
				OSType:       to.Ptr(armcompute.OperatingSystemTypesLinux), HyperVGeneration: to.Ptr(armcompute.HyperVGenerationV2),
			},
		})
		if err != nil {
			return "", fmt.Errorf("make a disk: %w", err)
		}
	}
	access, err := perform(ctx, d, func(ctx context.Context) (*runtime.Poller[armcompute.DisksClientGrantAccessResponse], error) {
		return d.disks.BeginGrantAccess(ctx, d.group, name, armcompute.GrantAccessData{
			Access: to.Ptr(armcompute.AccessLevelWrite), DurationInSeconds: to.Ptr[int32](sasSeconds),
		}, nil)
	})
	if err != nil {
		return "", fmt.Errorf("get access to it: %w", err)
	}
	if access.AccessSAS == nil {
		return "", platforms.Errorf(platforms.Internal, "Azure gives no address to write to")
	}
	if err := d.p.fill(ctx, *access.AccessSAS, vhd); err != nil {
		return "", err
	}
	if err := d.revoke(ctx, d.group, name); err != nil {
		return "", fmt.Errorf("give up access to it: %w", err)
	}
	return d.id(d.group, "disks", name), nil
}

// emptyUpload reports whether the disk can be uploaded to.
func emptyUpload(disk *armcompute.Disk, vhd vhdContent) bool {
	p := disk.Properties
	return text(p.ProvisioningState) == stateSucceeded && p.DiskState != nil && p.DiskSizeBytes != nil &&
		(*p.DiskState == armcompute.DiskStateReadyToUpload || *p.DiskState == armcompute.DiskStateActiveUpload) &&
		(*p.DiskSizeBytes == vhd.size || *p.DiskSizeBytes == vhd.size-footerBytes)
}

func (d *Driver) revoke(ctx context.Context, group, name string) error {
	_, err := perform(ctx, d, func(ctx context.Context) (*runtime.Poller[armcompute.DisksClientRevokeAccessResponse], error) {
		return d.disks.BeginRevokeAccess(ctx, group, name, nil)
	})
	if missing(err) {
		return nil
	}
	return err
}

// fill writes the VHD to the page blob behind a disk, but for pages of zeros,
// which a new blob is full of. The address carries the right to it: it must not
// appear in an error.
func (p *Platform) fill(ctx context.Context, address string, vhd vhdContent) error {
	f, err := p.vhd.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	client, err := pageblob.NewClientWithNoCredential(address, &pageblob.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: p.cfg.Transport, Retry: policy.RetryOptions{MaxRetries: 1, RetryDelay: p.cfg.PollInterval / 4},
	}})
	if err != nil {
		return platforms.Errorf(platforms.Internal, "Azure gives an address to write to that is none")
	}
	page, zeros := make([]byte, pageBytes), make([]byte, pageBytes)
	for at := int64(0); at < vhd.size; at += pageBytes {
		b := page[:min(pageBytes, vhd.size-at)]
		if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
			return platforms.Errorf(platforms.BadRequest, "the appliance's VHD: %w", err)
		}
		if bytes.Equal(b, zeros[:len(b)]) {
			continue
		}
		if _, err := client.UploadPages(ctx, streaming.NopCloser(bytes.NewReader(b)), blob.HTTPRange{Offset: at, Count: int64(len(b))}, nil); err != nil {
			return blobError(ctx, at, err)
		}
	}
	return nil
}

// blobError says how a write failed. That it was forbidden means that another
// worker has ended the upload: the next attempt sees what came of it.
func blobError(ctx context.Context, at int64, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if re, ok := errors.AsType[*azcore.ResponseError](err); ok {
		err = fmt.Errorf("write at offset %d: the storage answers %s (HTTP %d)", at, re.ErrorCode, re.StatusCode)
		switch {
		case re.StatusCode == http.StatusForbidden:
			return contended(err)
		case re.StatusCode >= 400 && re.StatusCode < 500 && re.StatusCode != http.StatusTooManyRequests:
			return err
		}
		return platforms.Errorf(platforms.Busy, "%w", err)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // the rest is the address
	}
	return platforms.Errorf(platforms.Busy, "write at offset %d: %w", at, err)
}
