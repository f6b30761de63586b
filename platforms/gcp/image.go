package gcp

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/storage/v1"
	"google.golang.org/protobuf/proto"

	"imageport/platforms/appliancefile"
	"imageport/platforms/patience"
)

const (
	// imagePrefix begins the names of images of the appliance, and of the objects
	// that they are made from; the beginning of the tarball's SHA-256 follows.
	imagePrefix = "imageport-ce-"
	digestChars = 24
	tarballEnd  = ".tar.gz"

	maxTarball  = 1 << 30
	uploadChunk = 8 << 20 // bytes of one request
)

// features are what the appliance can do, so that the cloud offers it: it starts
// by UEFI, and has drivers for Google's network adapter and for SCSI disks with
// several queues.
var features = []string{"UEFI_COMPATIBLE", "GVNIC", "VIRTIO_SCSI_MULTIQUEUE"}

// digests are those of a file's content.
type digests struct {
	sha256 string // hexadecimal
	md5    string // base64, as Cloud Storage has it
}

// newTarball gives the appliance's tarball for Google Cloud at the path.
func newTarball(path string) *appliancefile.File[digests] {
	return appliancefile.New(appliancefile.Kind{Name: "tarball", Format: "gcp", Section: "gcp"}, path,
		func(ctx context.Context, file *os.File, size int64) (digests, error) {
			if size > maxTarball {
				return digests{}, fmt.Errorf("want %d MiB at most, it has %d bytes", maxTarball>>20, size)
			}
			var magic [2]byte
			if _, err := file.ReadAt(magic[:], 0); err != nil || magic != [2]byte{0x1f, 0x8b} {
				return digests{}, fmt.Errorf("it is no gzip: want the appliance's tarball for Google Cloud (at offset 0 is %#x)", magic)
			}
			all, sum := sha256.New(), md5.New()
			if _, err := io.Copy(io.MultiWriter(all, sum), appliancefile.Until(ctx, file)); err != nil {
				return digests{}, err
			}
			return digests{hex.EncodeToString(all.Sum(nil)), base64.StdEncoding.EncodeToString(sum.Sum(nil))}, nil
		})
}

// image gives the image that CEs are made from, and makes it where the project
// has none of this appliance.
func (d *Driver) image(ctx context.Context) (path string, err error) {
	if d.p.cfg.Image != "" {
		return d.p.cfg.Image, nil
	}
	digest, err := d.p.appliance.Read(ctx)
	if err != nil {
		return "", err
	}
	name := imagePrefix + digest.sha256[:digestChars]
	object := name + tarballEnd
	path = fmt.Sprintf("projects/%s/global/images/%s", d.place.project, name)
	if d.p.isImported(path) {
		return path, nil
	}
	err = d.patiently(ctx, func() (bool, error) {
		found, err := d.getImage(ctx, d.place.project, name)
		if err != nil {
			return false, err
		}
		switch found.GetStatus() {
		case "READY":
			// Nobody needs the object any more, whoever uploaded it.
			return true, d.deleteObject(ctx, object)
		case "":
			if err := d.upload(ctx, object, digest.md5); err != nil {
				return false, err
			}
			return false, d.importImage(ctx, name, object, digest.sha256)
		case "FAILED":
			return false, d.deleteImage(ctx, name)
		}
		return false, fmt.Errorf("image %s is %s: %w", name, found.GetStatus(), patience.ErrContended)
	})
	if err != nil {
		return "", err
	}
	d.p.setImported(path)
	return path, nil
}

func (p *Platform) isImported(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.imported[path]
}

func (p *Platform) setImported(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.imported[path] = true
}

// forgetImported has an image looked for that was known to be there, and reports
// whether it was.
func (p *Platform) forgetImported(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.imported[path]
	delete(p.imported, path)
	return was
}

// getImage gives an image, nil if there is none.
func (d *Driver) getImage(ctx context.Context, project, name string) (*computepb.Image, error) {
	found, err := d.images.Get(ctx, &computepb.GetImageRequest{Project: project, Image: name})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	return found, nil
}

// upload uploads the tarball. That the object is there is a success: it appears
// whole or not at all, and its name says what is in it.
func (d *Driver) upload(ctx context.Context, object, sum string) error {
	f, err := d.p.appliance.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = d.storage.Objects.Insert(d.p.cfg.Bucket, &storage.Object{Name: object, Md5Hash: sum, ContentType: "application/gzip"}).
		IfGenerationMatch(0).Media(appliancefile.Until(ctx, f), googleapi.ChunkSize(uploadChunk), googleapi.ContentType("application/gzip")).
		Context(ctx).Do()
	if err != nil && !isHTTP(err, http.StatusPreconditionFailed) {
		return fmt.Errorf("upload gs://%s/%s: %w", d.p.cfg.Bucket, object, err)
	}
	return nil
}

// deleteObject deletes the uploaded tarball. That it is gone is a success.
func (d *Driver) deleteObject(ctx context.Context, object string) error {
	if err := d.storage.Objects.Delete(d.p.cfg.Bucket, object).Context(ctx).Do(); err != nil && !isNotFound(err) {
		return fmt.Errorf("delete gs://%s/%s: %w", d.p.cfg.Bucket, object, err)
	}
	return nil
}

// importImage makes the image. That somebody else makes it is a success.
func (d *Driver) importImage(ctx context.Context, name, object, digest string) error {
	image := &computepb.Image{
		Name: proto.String(name), Description: proto.String("Compositing Engine of imageport, SHA-256 of the tarball " + digest),
		Labels:       map[string]string{labelImage: digest[:digestChars]},
		Architecture: proto.String("X86_64"),
		RawDisk:      &computepb.RawDisk{Source: proto.String(fmt.Sprintf("https://storage.googleapis.com/%s/%s", d.p.cfg.Bucket, object))},
	}
	for _, f := range features {
		image.GuestOsFeatures = append(image.GuestOsFeatures, &computepb.GuestOsFeature{Type: proto.String(f)})
	}
	op, err := d.images.Insert(ctx, &computepb.InsertImageRequest{Project: d.place.project, ImageResource: image, RequestId: d.requestID()})
	err = d.everywhere(ctx, op, err)
	switch {
	case isTaken(err):
		return nil
	case isNotFound(err):
		// Another worker was faster, and has deleted the object.
		err = contended(err)
	}
	if err != nil {
		return fmt.Errorf("import image %s: %w", name, err)
	}
	return nil
}

func (d *Driver) deleteImage(ctx context.Context, name string) error {
	op, err := d.images.Delete(ctx, &computepb.DeleteImageRequest{Project: d.place.project, Image: name, RequestId: d.requestID()})
	if err := d.everywhere(ctx, op, err); err != nil && !isNotFound(err) {
		return fmt.Errorf("delete image %s, which has failed: %w", name, err)
	}
	return nil
}
