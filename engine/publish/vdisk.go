package publish

import (
	"context"
	"io"
	"strings"

	"imageport/engine/pvs"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

// UnknownToPVS refuses to replace what PVS uses: a version that the vDisk's
// manifest lists, which may hold what somebody did in it, and what targets
// stream from. That their use is read-only, for which ignoreLock is, does not
// help there. It is for replaceable of Check.
func UnknownToPVS(ctx context.Context, store share.Store, output string) error {
	lock := source.LockOf(output)
	if found, err := source.Stat(ctx, store, lock); err != nil {
		return err
	} else if found != nil {
		return job.Errorf(job.ImageLocked, "Shut the targets down that use it (Unlock-PvsDisk removes a lock that was left behind), or choose another outputImageFilename",
			"PVS has %s, which is to be replaced, in use: there is a file %s", output, lock)
	}
	name, ok := pvs.ParseName(output)
	if !ok {
		return nil
	}
	manifest, err := source.Stat(ctx, store, name.Manifest())
	if err != nil || manifest == nil {
		return err
	}
	b, err := ReadSmall(ctx, store, name.Manifest(), *manifest)
	if err != nil {
		return err
	}
	m, err := pvs.ParseManifest(b)
	if err != nil {
		return ManifestInvalid(err)
	}
	for _, e := range m.Entries() {
		if strings.EqualFold(e.File, output) {
			return job.Errorf(job.OutputExists, "Delete the version in the PVS console if it is not needed, or choose another outputImageFilename",
				"overwriteOutput does not replace versions of a vDisk, and %s lists %s as version %d", name.Manifest(), output, e.Number)
		}
	}
	return nil
}

// ManifestInvalid gives an error of a vDisk's manifest its code.
func ManifestInvalid(err error) error {
	return job.Errorf(job.ManifestInvalid, "Export the vDisk's versions anew in the PVS console, or remove the manifest if the vDisk has no versions", "%w", err)
}

// smallLimit bounds manifests and properties files: the latter have half a
// megabyte.
const smallLimit = 16 << 20

// ReadSmall reads one of the files that PVS keeps beside a vDisk, which must be
// the one that was seen before.
func ReadSmall(ctx context.Context, store share.Store, name string, id source.FileID) ([]byte, error) {
	f, err := store.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	changed := job.Errorf(job.SourceChanged, "Start the job again while nobody works on the vDisk", "%s changed while the job ran", name)
	if now := (source.FileID{SizeBytes: f.Size(), Modified: f.ModTime().UTC()}); now != id {
		return nil, changed
	}
	if f.Size() > smallLimit {
		return nil, job.Errorf(job.ManifestInvalid, "Look at what it is", "%s has %d bytes, more than such a file has", name, f.Size())
	}
	b := make([]byte, f.Size())
	switch n, err := f.ReadAt(b, 0); {
	case n == len(b):
		return b, nil
	case err == nil, err == io.EOF:
		return nil, changed
	default:
		return nil, job.At(name, err)
	}
}
