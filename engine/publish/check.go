package publish

import (
	"context"
	"fmt"
	"strings"

	"imageport/engine/pvs"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

// Check is what a preflight asks about the output. It refuses one that exists,
// with job.OutputExists, unless replaceable, which is asked then, has nothing
// against it; nil allows none. An output that another job publishes right now
// is job.OutputInUse. existing is the file that may be replaced, nil where
// there is none.
//
// Jobs that still write the same output do not bar each other: of theirs, only
// partial files can be seen, and those of a job that is gone look the same.
func Check(ctx context.Context, store share.Store, n Names, replaceable func(ctx context.Context) error) (existing *source.FileID, err error) {
	existing, err = source.Stat(ctx, store, n.Output)
	if err != nil {
		return nil, err
	}
	if existing != nil && replaceable == nil {
		return nil, job.Errorf(job.OutputExists, "Set overwriteOutput, or choose another outputImageFilename", "there is a file %s already", n.Output)
	}
	if existing != nil {
		if err := replaceable(ctx); err != nil {
			return nil, err
		}
	}
	if other, _, err := otherClaim(ctx, store, n); err != nil {
		return nil, err
	} else if other != "" {
		return nil, claimed(n, other)
	}
	return existing, nil
}

// Admit is Check for an output that is a whole disk. With overwrite, such a disk
// of an earlier job may be there. It must not be one of the files that the
// output is made from, by whatever name, nor one that PVS knows: a slip in
// outputImageFilename must not cost another vDisk.
func Admit(ctx context.Context, store share.Store, n Names, overwrite bool, from ...source.Layer) (existing *source.FileID, err error) {
	if !overwrite {
		return Check(ctx, store, n, nil)
	}
	return Check(ctx, store, n, func(ctx context.Context) error { return replaceableWhole(ctx, store, n.Output, from) })
}

// replaceableWhole refuses to replace anything but a disk of its own that
// nothing is known to depend on.
func replaceableWhole(ctx context.Context, store share.Store, output string, from []source.Layer) error {
	refused := func(format string, args ...any) error {
		return job.Errorf(job.OutputExists, "Choose another outputImageFilename, or remove the file if it is not needed",
			"overwriteOutput does not replace %s: %s", output, fmt.Sprintf(format, args...))
	}
	there, err := source.Stat(ctx, store, output)
	if err != nil || there == nil {
		return err
	}
	for _, l := range from {
		// The two may be one file by different names, such as those of 8.3.
		if l.File == *there || strings.EqualFold(l.Name, output) {
			return refused("by its size and time it is %s, a file of the image itself", l.Name)
		}
	}
	what, err := KindOf(ctx, store, output)
	if err != nil {
		return err
	}
	if what.Unreadable != nil || what.Parent != "" {
		return refused("it is %s", what)
	}
	if err := UnknownToPVS(ctx, store, output); err != nil {
		return err
	}
	files, err := store.List(ctx)
	if err != nil {
		return err
	}
	if of := dependent(output, files); of != "" {
		return refused("there is %s, which PVS has beside a vDisk of its own", of)
	}
	return nil
}

// dependent finds a file that says that the image is a vDisk in a store of PVS:
// its properties, or a version of it.
func dependent(image string, files []share.Info) string {
	name, ok := pvs.ParseName(image)
	if !ok {
		return ""
	}
	for _, f := range files {
		if strings.EqualFold(f.Name, name.Properties()) {
			return f.Name
		}
		if v, ok := pvs.ParseName(f.Name); ok && v.Differencing && strings.EqualFold(v.Disk, name.Disk) && v.Number > name.Number {
			return f.Name
		}
	}
	return ""
}

// Room refuses, with job.ShareFull, a share that has less free than the output
// needs.
func Room(ctx context.Context, store share.Store, needBytes int64) error {
	free, err := store.Free(ctx)
	if err != nil || free >= needBytes {
		return err
	}
	return job.Errorf(job.ShareFull, "Free some space on the share", "the share has %d MiB free, the output needs up to %d MiB", free>>20, needBytes>>20)
}
