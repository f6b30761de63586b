package convert

import (
	"context"
	"fmt"
	"strings"

	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
	"imageport/engine/pvs"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

// replaceable refuses to replace anything but an earlier output: a differencing
// disk of the same image. A slip in outputImageFilename must not cost another
// vDisk.
func replaceable(ctx context.Context, store share.Store, t Task) error {
	what, err := kindOf(ctx, store, t.Output)
	if err != nil {
		return err
	}
	if strings.EqualFold(what.parent, t.Input) {
		return unknownToPVS(ctx, store, t)
	}
	return job.Errorf(job.OutputExists, "Choose another outputImageFilename, or remove the file if it is not needed",
		"overwriteOutput replaces only a differencing disk of %s, and %s is %s", t.Input, t.Output, what)
}

// unknownToPVS refuses to replace what PVS uses: a version that the vDisk's
// manifest lists, which may hold what somebody did in it, and what targets stream
// from. That their use is read-only, for which ignoreLock is, does not help there.
func unknownToPVS(ctx context.Context, store share.Store, t Task) error {
	lock := source.LockOf(t.Output)
	if found, err := source.Stat(ctx, store, lock); err != nil {
		return err
	} else if found != nil {
		return job.Errorf(job.ImageLocked, "Shut the targets down that use it (Unlock-PvsDisk removes a lock that was left behind), or choose another outputImageFilename",
			"PVS has %s, which is to be replaced, in use: there is a file %s", t.Output, lock)
	}
	name, ok := pvs.ParseName(t.Output)
	if !ok {
		return nil
	}
	manifest, err := source.Stat(ctx, store, name.Manifest())
	if err != nil || manifest == nil {
		return err
	}
	b, err := readVersionFile(ctx, store, name.Manifest(), *manifest)
	if err != nil {
		return err
	}
	m, err := pvs.ParseManifest(b)
	if err != nil {
		return versionError(err)
	}
	for _, e := range m.Entries() {
		if strings.EqualFold(e.File, t.Output) {
			return job.Errorf(job.OutputExists, "Delete the version in the PVS console if it is not needed, or choose another outputImageFilename",
				"overwriteOutput does not replace versions of a vDisk, and %s lists %s as version %d", name.Manifest(), t.Output, e.Number)
		}
	}
	return nil
}

// kind is what a file is, as far as it may be replaced.
type kind struct {
	unreadable error
	parent     string // file name; empty for a disk of its own
}

func (k kind) String() string {
	switch {
	case k.unreadable != nil:
		return fmt.Sprintf("not a VHDX or VHD that can be read (%s)", k.unreadable)
	case k.parent == "":
		return "a disk of its own"
	}
	return "a differencing disk of " + k.parent
}

// kindOf looks at the headers of a file. Errors are those of the share.
func kindOf(ctx context.Context, store share.Store, name string) (kind, error) {
	f, err := store.Open(ctx, name)
	if err != nil {
		return kind{}, err
	}
	defer f.Close()
	r := source.Cached(f)
	var relative string
	if x, err := vhdx.Open(r, f.Size()); err == nil {
		if p := x.Info().Parent; p != nil {
			relative = p.RelativePath
		}
	} else if v, vhdErr := vhd.Open(r, f.Size()); vhdErr == nil {
		if p := v.Info().Parent; p != nil {
			relative = p.RelativePath
		}
	} else if job.CodeOf(err) != "" {
		return kind{}, err // of the share
	} else if job.CodeOf(vhdErr) != "" {
		return kind{}, vhdErr
	} else {
		return kind{unreadable: err}, nil
	}
	return kind{parent: strings.TrimPrefix(relative, `.\`)}, nil
}
