package guestsim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/windows/bootconv"
	"imageport/job"
	"imageport/testkit/targetdevice"
	"imageport/testkit/targetdevice/cache"
	"imageport/testkit/winimage"
)

// TargetImage is the disk of a vDisk: winimage.Upgradable with a version of the test
// target device installed in its Windows, as targetdevice builds it. It must not
// be written to: Clone it.
func TargetImage(t testing.TB, version string) winimage.Image {
	t.Helper()
	return targetImage(t, version, job.BIOS)
}

// UEFITargetImage is TargetImage converted to UEFI, by the product. C: lies where
// the Image says; the other partitions do not.
func UEFITargetImage(t testing.TB, version string) winimage.Image {
	t.Helper()
	return targetImage(t, version, job.UEFI)
}

func targetImage(t testing.TB, version string, firmware job.Firmware) winimage.Image {
	t.Helper()
	image, err := MakeTargetImage(t.Context(), winimage.Upgradable(), version, firmware)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// MakeTargetImage is TargetImage or UEFITargetImage for any disk with sectors of
// 512 bytes. What the Spec says of PVS does not count.
func MakeTargetImage(ctx context.Context, spec winimage.Spec, version string, firmware job.Firmware) (winimage.Image, error) {
	spec.NoPVS = true
	base, err := winimage.Cached(ctx, spec)
	if err != nil {
		return winimage.Image{}, err
	}
	installer, err := targetdevice.Make(ctx, version, targetdevice.Works)
	if err != nil {
		return winimage.Image{}, err
	}
	// Both paths have the hash of their content in them.
	key := sha256.Sum256(fmt.Appendf(nil, "2\n%s\n%s\n%s", base.Path, installer, firmware))
	const file = "disk.img"
	dir, err := cache.Folder(ctx, "target", hex.EncodeToString(key[:])[:16], func(dir string) error {
		path := filepath.Join(dir, file)
		if _, err := base.Clone(ctx, path); err != nil {
			return err
		}
		if firmware == job.UEFI {
			if err := convert(ctx, path); err != nil {
				return err
			}
		}
		if err := Install(ctx, path, installer); err != nil {
			return err
		}
		return os.Chmod(path, 0o444)
	})
	base.Path = filepath.Join(dir, file)
	return base, err
}

// convert converts a disk to UEFI in its place.
func convert(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("guestsim: %w", err)
	}
	err = convertDisk(ctx, f)
	return errors.Join(err, f.Close())
}

func convertDisk(ctx context.Context, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("guestsim: %w", err)
	}
	d := rawDisk{f, info.Size()}
	image, err := bootconv.Inspect(d)
	if err != nil {
		return err
	}
	plan, err := image.Plan(ctx, uuid.NewSHA1(uuid.NameSpaceURL, []byte("imageport:guestsim")), bootconv.Options{})
	if err != nil {
		return err
	}
	return image.Apply(ctx, plan, d, nil, func(string, int64, int64) {})
}
