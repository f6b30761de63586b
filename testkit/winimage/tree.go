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
)

// file is one file of a volume: data, and noise behind it.
type file struct {
	path  string // from the root of the volume, with slashes
	data  []byte
	noise int64 // bytes
	wof   WOF   // compressed by CompactOS, if not empty

	wofLost bool // only the reparse point says that it is compressed
	late    bool // written when everything else has its place
}

// tree is what a volume contains.
type tree []file

// add adds a file of data, followed by noise up to size bytes.
func (t *tree) add(path string, data []byte, size int64) {
	*t = append(*t, file{path: path, data: data, noise: max(0, size-int64(len(data)))})
}

// last is the file that was added last.
func (t *tree) last() *file { return &(*t)[len(*t)-1] }

// size is the file's, in bytes.
func (f file) size() int64 { return int64(len(f.data)) + f.noise }

// content reads the file's bytes.
func (f file) content(seed uint64) io.Reader {
	return io.MultiReader(bytes.NewReader(f.data), io.LimitReader(noise(seed, f.path), f.noise))
}

// describe puts everything into h that the content of the files depends on.
func (t tree) describe(h hash.Hash) {
	for _, f := range t {
		fmt.Fprintf(h, "%q %d %d %q %v %v\n", f.path, len(f.data), f.noise, f.wof, f.wofLost, f.late)
		h.Write(f.data)
	}
}

// write makes the files below dir, those that are late or those that are not.
// Programs compressed by CompactOS come from compressed, see compress.
func (t tree) write(ctx context.Context, dir string, seed uint64, compressed map[string][]byte, late bool) error {
	for _, f := range t {
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.late != late {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(f.path))
		var err error
		if data, ok := compressed[f.path]; ok {
			err = f.writeCompressed(path, data)
		} else {
			err = f.write(path, seed)
		}
		if err == nil && f.wofLost {
			err = setReparsePoint(path, XPRESS4K)
		}
		if err != nil {
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
	content := f.content(seed)
	buf := make([]byte, min(1<<20, f.size()))
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
	return out.Close()
}

// noise is an endless stream of bytes that do not compress, its own for each
// file.
func noise(seed uint64, path string) io.Reader {
	return rand.NewChaCha8(sha256.Sum256(binary.LittleEndian.AppendUint64([]byte(path), seed)))
}
