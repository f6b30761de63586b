package winimage

import (
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Files compressed by CompactOS, that is by the Windows Overlay Filter: the
// data is in a stream of its own, which is what a WIM archive holds of a file,
// the table of chunks and the chunks. So wimlib makes it. The file's data is a
// hole of the file's size, and a reparse point says what to do.

// wofStream is the name of that stream.
const wofStream = "WofCompressedData"

// algorithm is how a WOF is called elsewhere.
type algorithm struct {
	wim    string // by wimlib
	chunk  int    // bytes
	number uint32 // in the reparse point
}

func (w WOF) algorithm() algorithm {
	switch w {
	case XPRESS4K:
		return algorithm{"XPRESS", 4 << 10, 0}
	case LZX:
		return algorithm{"LZX", 32 << 10, 1}
	case XPRESS8K:
		return algorithm{"XPRESS", 8 << 10, 2}
	case XPRESS16K:
		return algorithm{"XPRESS", 16 << 10, 3}
	}
	return algorithm{}
}

// compress compresses the files of the tree that are to be; work is a folder
// for its own use. Files that do not become smaller are not in the result:
// Windows leaves them as they are.
func (t tree) compress(ctx context.Context, work string, seed uint64) (map[string][]byte, error) {
	result := map[string][]byte{}
	for _, w := range []WOF{XPRESS4K, XPRESS8K, XPRESS16K, LZX} {
		paths := map[string][]string{} // by the hash of what is in them
		source := filepath.Join(work, string(w))
		for i, f := range t {
			if f.wof != w {
				continue
			}
			if err := os.MkdirAll(source, 0o755); err != nil {
				return nil, fmt.Errorf("winimage: %w", err)
			}
			h := sha1.New() // which is what a WIM names contents by
			plain := io.TeeReader(f.content(seed), h)
			out, err := os.Create(filepath.Join(source, strconv.Itoa(i)))
			if err != nil {
				return nil, fmt.Errorf("winimage: %w", err)
			}
			_, err = io.Copy(out, plain)
			if err := errors.Join(err, out.Close()); err != nil {
				return nil, fmt.Errorf("winimage: %w", err)
			}
			sum := hex.EncodeToString(h.Sum(nil))
			paths[sum] = append(paths[sum], f.path)
		}
		if len(paths) == 0 {
			continue
		}
		archive := source + ".wim"
		a := w.algorithm()
		if err := run(ctx, "wimlib-imagex", "capture", source, archive,
			"--compress="+a.wim, "--chunk-size="+strconv.Itoa(a.chunk), "--no-acls"); err != nil {
			return nil, err
		}
		if err := readResources(ctx, archive, func(sum string, data []byte) {
			for _, path := range paths[sum] { // none: it is the list of files
				result[path] = data
			}
		}); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// readResources gives the compressed contents in a WIM archive by their SHA-1.
func readResources(ctx context.Context, archive string, give func(sum string, data []byte)) error {
	list, err := output(ctx, "wimlib-imagex", "info", archive, "--blobs")
	if err != nil {
		return err
	}
	wim, err := os.ReadFile(archive)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	for _, blob := range strings.Split(list, "\n\n") {
		field := map[string]string{}
		for line := range strings.Lines(blob) {
			if name, value, ok := strings.Cut(line, "="); ok {
				field[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
		if !strings.Contains(field["Flags"], "WIM_RESHDR_FLAG_COMPRESSED") {
			continue
		}
		at, atErr := strconv.Atoi(strings.TrimSuffix(field["Offset in WIM"], " bytes"))
		size, sizeErr := strconv.Atoi(strings.TrimSuffix(field["Compressed size"], " bytes"))
		if err := errors.Join(atErr, sizeErr); err != nil {
			return fmt.Errorf("winimage: wimlib-imagex says %q: %w", blob, err)
		}
		if at < 0 || size < 0 || at+size > len(wim) {
			return fmt.Errorf("winimage: wimlib-imagex says %q of %d bytes", blob, len(wim))
		}
		give(strings.TrimPrefix(field["Hash"], "0x"), wim[at:at+size])
	}
	return nil
}

// writeCompressed makes the file of its compressed data.
func (f file) writeCompressed(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(out.Truncate(f.size()), out.Close()); err != nil {
		return err
	}
	if err := os.WriteFile(path+":"+wofStream, data, 0o644); err != nil {
		return err
	}
	return setReparsePoint(path, f.wof)
}

// setReparsePoint makes the file a reparse point of the Windows Overlay Filter:
// REPARSE_DATA_BUFFER with WOF_EXTERNAL_INFO {version 1, provider 2} and
// FILE_PROVIDER_EXTERNAL_INFO_V1 {version 1, algorithm, flags 0}.
func setReparsePoint(path string, w WOF) error {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0x80000017) // IO_REPARSE_TAG_WOF
	b = le.AppendUint16(b, 16)            // bytes that follow
	b = le.AppendUint16(b, 0)
	for _, v := range []uint32{1, 2, 1, w.algorithm().number} {
		b = le.AppendUint32(b, v)
	}
	if err := unix.Setxattr(path, "system.ntfs_reparse_data", b, 0); err != nil {
		return fmt.Errorf("reparse point of %s: %w", path, err)
	}
	return nil
}
