package reverse

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"imageport/engine/disk"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/engine/source"
)

// open opens the task's image.
func (t Task) open(ctx context.Context, store share.Store, how source.Access) (*source.Image, error) {
	return source.Open(ctx, source.Input{Store: store, Name: t.Input, Format: t.Format, Access: how})
}

// reopen opens the image that was approved, and no other.
func (t Task) reopen(ctx context.Context, store share.Store, a Approval, how source.Access) (*source.Image, error) {
	im, err := t.open(ctx, store, how)
	if err != nil {
		return nil, err
	}
	if err := im.Same(a.Source); err != nil {
		return nil, errors.Join(err, im.Close())
	}
	if im.Size() > a.SizeBytes {
		return nil, errors.Join(tooSmall(t, im.Size(), a.SizeBytes), im.Close())
	}
	return im, nil
}

// contents are what the disk is to hold.
func (a Approval) contents(ctx context.Context, im *source.Image) (disk.Mapped, error) {
	if !a.UsedOnly {
		return im.Chain, nil
	}
	used, err := diskimage.UsedOf(ctx, im.Chain)
	return used, diskimage.Coded(err)
}

// identity is that of a copy: the versions of the image's files, and how much of
// it is copied.
func (a Approval) identity() string {
	var text bytes.Buffer
	for _, l := range a.Source {
		fmt.Fprintf(&text, "%q %d %s %q\n", l.Name, l.File.SizeBytes, l.File.Modified.UTC().Format(time.RFC3339Nano), l.ID)
	}
	if a.UsedOnly {
		text.WriteString("used\n")
	}
	sum := sha256.Sum256(text.Bytes())
	return hex.EncodeToString(sum[:])
}
