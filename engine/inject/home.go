package inject

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"imageport/engine/ntfsmount"
	"imageport/engine/windows/offline"
	"imageport/firstboot/plan"
	"imageport/job"
)

// home is plan.Folder on the mounted volume.
type home struct {
	m            *ntfsmount.Mounted
	dir, parent  string // below the root of the volume
	hasParent    bool
	copied, size int64
}

func newHome(v *offline.Volume) (*home, error) {
	h := &home{}
	var err error
	if h.parent, h.hasParent, err = onVolume(v, parent); err != nil {
		return nil, err
	}
	h.dir, _, err = onVolume(v, folder)
	return h, err
}

// make makes the folders. Each is the system's before anything is in it.
func (h *home) make() error {
	dirs := []string{h.dir, path.Join(h.dir, plan.FilesDir), path.Join(h.dir, plan.LogDir)}
	if !h.hasParent {
		dirs = append([]string{h.parent}, dirs...)
	}
	return h.m.Do(func(root *os.Root) error {
		for _, dir := range dirs {
			if err := root.Mkdir(dir, 0o700); err != nil {
				return err
			}
			if err := ntfsmount.Protect(h.native(dir), true); err != nil {
				return err
			}
		}
		return nil
	})
}

// remove takes back what make has made, and all that is in it.
func (h *home) remove() error {
	return h.m.Do(func(root *os.Root) error {
		if err := root.RemoveAll(h.dir); err != nil || h.hasParent {
			return err
		}
		return root.Remove(h.parent)
	})
}

func (h *home) native(name string) string { return filepath.Join(h.m.Dir(), filepath.FromSlash(name)) }

// create makes an empty file that is the system's, on the thread of the volume.
func (h *home) create(root *os.Root, name string) (*os.File, error) {
	name = path.Join(h.dir, name)
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := ntfsmount.Protect(h.native(name), false); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// write makes a file with that content.
func (h *home) write(name string, content []byte) error {
	return h.m.Do(func(root *os.Root) error {
		f, err := h.create(root, name)
		if err != nil {
			return err
		}
		_, err = f.Write(content)
		return errors.Join(err, f.Sync(), f.Close())
	})
}

// copyBuffer is how much of a file is read and written at once, in bytes.
const copyBuffer = 1 << 20

// copy reads a file, while what was read before is written on the thread of the
// volume, which opens and closes what it writes to.
func (h *home) copy(ctx context.Context, f File, report func(job.Progress)) error {
	in, err := f.Open(ctx)
	if err != nil {
		return job.At(f.Name, coded(err))
	}
	defer in.Close()
	filled, ended := make(chan []byte), make(chan struct{})
	var written error
	go func() {
		defer close(ended)
		written = h.m.Do(func(root *os.Root) error {
			out, err := h.create(root, path.Join(plan.FilesDir, f.Name))
			if err != nil {
				return err
			}
			for b := range filled {
				if _, err = out.Write(b); err != nil {
					break
				}
			}
			return errors.Join(err, out.Sync(), out.Close())
		})
	}()
	found, err := h.read(ctx, in, f, report, func(b []byte) bool {
		select {
		case filled <- b:
			return true
		case <-ended:
			return false
		}
	})
	close(filled)
	<-ended
	switch {
	case err != nil:
		return err
	case written != nil:
		return written
	case !strings.EqualFold(found, f.SHA256):
		return job.Errorf(job.InstallerHashMismatch, rightFile, "%s has the SHA-256 %s and not %s, as the catalogue says", f.Name, found, f.SHA256)
	}
	return nil
}

// rightFile is the remedy of one that is another.
const rightFile = "Put the right file there, or add it to the catalogue again"

// read reads a file, no further than its size, and gives its hash. It hands all
// that it reads to put, of whose buffers it changes one once the next one was
// taken, until put refuses.
func (h *home) read(ctx context.Context, in io.Reader, f File, report func(job.Progress), put func([]byte) bool) (string, error) {
	hash := sha256.New()
	buf, other := make([]byte, copyBuffer), make([]byte, copyBuffer)
	for left := f.SizeBytes; ; buf, other = other, buf {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, err := io.ReadFull(in, buf)
		if left -= int64(n); left < 0 {
			return "", job.Errorf(job.InstallerHashMismatch, rightFile, "%s has more than the %d bytes that it should have", f.Name, f.SizeBytes)
		}
		hash.Write(buf[:n])
		if n > 0 && !put(buf[:n]) {
			return "", nil // it has an error of its own
		}
		h.copied += int64(n)
		report(job.Progress{Step: "inject", DoneBytes: h.copied, TotalBytes: h.size})
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return hex.EncodeToString(hash.Sum(nil)), nil
		}
		if err != nil {
			return "", job.At(f.Name, coded(err))
		}
	}
}

// coded gives an error of a file's source, which is not ours to judge, a code if
// it has none: so it is told from those of the volume.
func coded(err error) error {
	if job.CodeOf(err) != "" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return job.Errorf(job.ShareIO, "Look at the share of the catalogue, then start the job again", "%w", err)
}
