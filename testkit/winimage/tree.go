package winimage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// file is one file of a volume: data, and noise behind it.
type file struct {
	path  string // from the root of the volume, with slashes
	data  []byte
	noise int64 // bytes
	wof   bool  // is a reparse point of the Windows Overlay Filter
}

// tree is what a volume contains.
type tree []file

// add adds a file of data, followed by noise up to size bytes.
func (t *tree) add(path string, data []byte, size int64) {
	*t = append(*t, file{path: path, data: data, noise: max(0, size-int64(len(data)))})
}

// describe puts everything into h that the content of the files depends on.
func (t tree) describe(h hash.Hash) {
	for _, f := range t {
		fmt.Fprintf(h, "%q %d %d %v\n", f.path, len(f.data), f.noise, f.wof)
		h.Write(f.data)
	}
}

// write makes the files below dir.
func (t tree) write(ctx context.Context, dir string, seed uint64) error {
	for _, f := range t {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.write(filepath.Join(dir, filepath.FromSlash(f.path)), seed); err != nil {
			return fmt.Errorf("winimage: %w", err)
		}
	}
	return nil
}

func (f file) write(path string, seed uint64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	// One write for a small file, and large ones for a large file: each is a
	// round trip through FUSE.
	content := io.MultiReader(bytes.NewReader(f.data), io.LimitReader(noise(seed, f.path), f.noise))
	buf := make([]byte, min(1<<20, int64(len(f.data))+f.noise))
	for {
		n, err := io.ReadFull(content, buf)
		if _, werr := out.Write(buf[:n]); werr != nil {
			return werr
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF || len(buf) == 0 {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	if f.wof {
		return unix.Setxattr(path, "system.ntfs_reparse_data", wofReparsePoint, 0)
	}
	return nil
}

// noise is an endless stream of bytes that do not compress, its own for each
// file.
func noise(seed uint64, path string) io.Reader {
	return rand.NewChaCha8(sha256.Sum256(binary.LittleEndian.AppendUint64([]byte(path), seed)))
}

// wofReparsePoint says that the file's data is elsewhere, compressed by
// CompactOS: REPARSE_DATA_BUFFER with WOF_EXTERNAL_INFO {version 1, provider 2}
// and FILE_PROVIDER_EXTERNAL_INFO_V1 {version 1, XPRESS4K}.
var wofReparsePoint = []byte{
	0x17, 0, 0, 0x80, 16, 0, 0, 0,
	1, 0, 0, 0, 2, 0, 0, 0,
	1, 0, 0, 0, 0, 0, 0, 0,
}
