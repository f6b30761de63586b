package offline

import (
	"errors"

	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// hiveLimit bounds, in bytes, the registry hives that are read into memory: ten
// times a large one.
const hiveLimit = 256 << 20

// Hive is a registry hive in a file of a volume, as Windows would see it: where
// it was not written to its end, it is completed with its transaction logs.
type Hive struct {
	*hive.Hive
	// Place names the file and its partition, for people.
	Place string
	File  *ntfs.File
	// Stored is what is in the file.
	Stored []byte
	// Entries is how many of the logs' entries complete it.
	Entries int
}

// OpenHive reads a registry hive. The error is job.HiveDirty, if it was not
// written to its end and its logs do not help, job.HiveCorrupt, job.NTFSCorrupt,
// ntfs.ErrNotFound, or one of the disk.
func (v *Volume) OpenHive(path string) (*Hive, error) {
	f, stored, err := v.read(path)
	if err != nil {
		return nil, err
	}
	h := &Hive{Place: path + " on " + v.String(), File: f, Stored: stored}
	parsed, err := hive.Parse(stored)
	if err == nil && !parsed.Dirty() {
		h.Hive = parsed
		return h, nil
	}
	var logs [][]byte
	for _, suffix := range []string{".LOG1", ".LOG2", ".LOG"} {
		_, log, err := v.read(path + suffix)
		if err != nil && !errors.Is(err, ntfs.ErrNotFound) {
			return nil, err
		}
		logs = append(logs, log)
	}
	r, replayErr := hive.Replay(stored, logs...)
	switch {
	case replayErr == nil && r.Replayed:
		for _, l := range r.Logs {
			h.Entries += l.Entries
		}
		if h.Hive, err = hive.Parse(r.Hive); err != nil {
			return nil, h.corrupt(err)
		}
		return h, nil
	case err != nil && !errors.Is(err, hive.ErrDirty): // it is not merely incomplete
		return nil, h.corrupt(err)
	case replayErr == nil:
		return nil, h.corrupt(errors.New("it is neither complete nor dirty"))
	}
	return nil, job.Errorf(job.HiveDirty, ShutDown, "%s holds changes that are only in its log, which cannot be used: %w", h.Place, replayErr)
}

func (v *Volume) read(path string) (*ntfs.File, []byte, error) {
	f, err := v.NTFS.Open(path)
	if err != nil {
		return nil, nil, v.Fault(err)
	}
	b, err := f.ReadAll(hiveLimit)
	if err != nil {
		return nil, nil, v.Fault(err)
	}
	return f, b, nil
}

// Find reads a key with its values; nil if there is none.
func (h *Hive) Find(path ...string) (*hive.Key, error) {
	k, err := h.Lookup(path...)
	if errors.Is(err, hive.ErrNotFound) {
		return nil, nil
	}
	return k, err
}

// Names lists the subkeys of a key; none if there is no such key.
func (h *Hive) Names(path ...string) ([]string, error) {
	names, err := h.SubkeyNames(path...)
	if errors.Is(err, hive.ErrNotFound) {
		return nil, nil
	}
	return names, err
}

// Fault gives an error of package hive about this one its code: job.HiveCorrupt.
// Those of the volume and of the disk stay as they are.
func (h *Hive) Fault(err error) error {
	for _, own := range []error{hive.ErrCorrupt, hive.ErrNotFound, hive.ErrNotHive, hive.ErrNoSpace} {
		if errors.Is(err, own) {
			return h.corrupt(err)
		}
	}
	return err
}

func (h *Hive) corrupt(err error) error {
	return job.Errorf(job.HiveCorrupt, CheckImage, "%s: %w", h.Place, err)
}
