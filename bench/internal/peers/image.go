package peers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"imageport/engine/copyfile"
)

const mib = 1 << 20

// Image is a virtual disk to copy.
type Image struct {
	Path string
	// DataBytes is what is allocated of the disk, which is three times as big.
	DataBytes int64

	sum [sha256.Size]byte // of the disk
}

// MakeImage makes a dynamic VHDX in a directory: random bytes, text, and
// allocated blocks of almost only zeros, in stretches of 1 to 32 MiB, spread
// over the disk.
func MakeImage(ctx context.Context, dir string, dataBytes int64) (Image, error) {
	plain := filepath.Join(dir, "plain.raw")
	defer os.Remove(plain)
	f, err := copyfile.Create(plain, 3*dataBytes)
	if err != nil {
		return Image{}, err
	}
	rng := rand.New(rand.NewPCG(1, 1))
	if err := errors.Join(fill(f, f.Size(), rng, dataBytes), f.Close()); err != nil {
		return Image{}, err
	}
	im := Image{Path: filepath.Join(dir, "disk.vhdx"), DataBytes: dataBytes}
	if im.sum, err = digest(plain); err != nil {
		return Image{}, err
	}
	return im, Tool(ctx, "qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", "subformat=dynamic,block_size=2M", plain, im.Path)
}

func fill(f io.WriterAt, size int64, rng *rand.Rand, data int64) error {
	random := rand.NewChaCha8([32]byte{1})
	text := []byte(strings.Repeat("The quick brown fox jumps over the lazy dog. ", mib/45+1))[:mib]
	block := make([]byte, mib)
	for at := int64(0); data > 0; {
		kind := rng.IntN(5)
		n := min(int64(1+rng.IntN(32))*mib, data)
		for end := at + n; at < end; at += mib {
			switch {
			case kind < 2:
				_, _ = random.Read(block) // it never fails
			case kind < 4:
				copy(block, text)
			default:
				clear(block)
				block[0] = 1
			}
			if _, err := f.WriteAt(block, at); err != nil {
				return err
			}
		}
		data -= n
		at += min(int64(rng.IntN(64))*mib, size-at-data)
	}
	return nil
}

// Verify tells whether a raw file is the disk.
func (im Image) Verify(raw string) error {
	got, err := digest(raw)
	if err == nil && got != im.sum {
		err = fmt.Errorf("%s has SHA-256 %x, expected %x", raw, got, im.sum)
	}
	return err
}

func digest(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, f, make([]byte, mib)); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// WriteNoise makes a file that nothing can compress.
func WriteNoise(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), size)
	return errors.Join(err, f.Close())
}

// Unsynced is a target whose data stays in the page cache, as that of the
// peers does.
type Unsynced struct{ *copyfile.File }

// Sync does nothing.
func (Unsynced) Sync() error { return nil }
