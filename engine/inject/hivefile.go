package inject

import (
	"bytes"
	"errors"
	"os"

	"imageport/engine/ntfsmount"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/engine/windows/offline"
)

// newHive is a registry hive to be written.
type newHive struct {
	path   string // of Windows
	name   string // for ntfs-3g, and those of the logs that there are
	logs   []string
	stored []byte // what is in the file
	data   []byte // what is to be: no shorter
}

// sealed takes an edited hive, as it is to be in its file, of which what is
// behind the bins stays. Damage that was there before may show when something is
// changed: such a hive is better left alone.
func sealed(v *offline.Volume, path string, h *offline.Hive) (newHive, error) {
	// The time that it has, so that the same image gives the same hive.
	h.Commit(h.File.ModTime())
	n := newHive{path: path, stored: h.Stored, data: bytes.Clone(h.Bytes())}
	if len(n.data) < len(n.stored) {
		n.data = append(n.data, n.stored[len(n.data):]...)
	}
	read, err := hive.Parse(n.data)
	if err == nil {
		_, err = read.Root()
	}
	if err != nil {
		return n, h.Fault(err)
	}
	if n.name, _, err = onVolume(v, path); err != nil {
		return n, err
	}
	for _, suffix := range logSuffixes {
		log, there, err := onVolume(v, path+suffix)
		if err != nil {
			return n, err
		}
		if there {
			n.logs = append(n.logs, log)
		}
	}
	return n, nil
}

// Of the base block: its size, that of the pages in which a hive is written, and
// where the sequence number is that the end of a write sets.
const (
	pageSize   = 4096
	secondSeq  = 8
	hiveGrowth = 1 << 20 // bytes that a hive may get longer by
)

// logSuffixes are those of the transaction logs.
var logSuffixes = []string{".LOG1", ".LOG2", ".LOG"}

// write puts the hive into its file: so it keeps its security descriptor,
// attributes and place. While that is under way the hive calls itself dirty, so
// that a write that was cut off shows. Its logs are emptied afterwards: what
// they hold is in the hive, or older than it.
func (n newHive) write(m *ntfsmount.Mounted) error {
	return m.Do(func(root *os.Root) error {
		f, err := root.OpenFile(n.name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(n.writePages(f), f.Close()); err != nil {
			return err
		}
		for _, log := range n.logs {
			f, err := root.OpenFile(log, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			if err := errors.Join(f.Truncate(0), f.Sync(), f.Close()); err != nil {
				return err
			}
		}
		return nil
	})
}

// begin makes the file one that is being written.
func (n newHive) begin(f *os.File) error {
	under := bytes.Clone(n.data[:pageSize])
	under[secondSeq] ^= 0xff // with this the checksum is wrong, too
	if _, err := f.WriteAt(under, 0); err != nil {
		return err
	}
	return f.Sync()
}

func (n newHive) writePages(f *os.File) error {
	if err := n.begin(f); err != nil {
		return err
	}
	for at := pageSize; at < len(n.data); at += pageSize {
		page := n.data[at:min(at+pageSize, len(n.data))]
		if at+len(page) <= len(n.stored) && bytes.Equal(page, n.stored[at:at+len(page)]) {
			continue
		}
		if _, err := f.WriteAt(page, int64(at)); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if _, err := f.WriteAt(n.data[:pageSize], 0); err != nil {
		return err
	}
	return f.Sync()
}

// check reads the hive back, with other code than what has written it.
func (n newHive) check(v *offline.Volume) error {
	if err := checkFile(v, n.path, n.data); err != nil {
		return err
	}
	for _, suffix := range logSuffixes {
		e, err := v.NTFS.Stat(n.path + suffix)
		switch {
		case errors.Is(err, ntfs.ErrNotFound):
		case err != nil:
			return v.Fault(err)
		case e.Size != 0:
			return verifyFailed("%s has %d bytes, want none", n.path+suffix, e.Size)
		}
	}
	return nil
}
