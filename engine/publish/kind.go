package publish

import (
	"context"
	"fmt"
	"strings"

	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

// Kind is what a file is, as far as it may be replaced.
type Kind struct {
	// Unreadable says why it is no image, if it is none.
	Unreadable error
	// Parent is a file name, empty for a disk of its own.
	Parent string
}

// String completes the sentence "the file is ...".
func (k Kind) String() string {
	switch {
	case k.Unreadable != nil:
		return fmt.Sprintf("not a VHDX or VHD that can be read (%s)", k.Unreadable)
	case k.Parent == "":
		return "a disk of its own"
	}
	return "a differencing disk of " + k.Parent
}

// KindOf looks at the headers of a file. Errors are those of the share.
func KindOf(ctx context.Context, store share.Store, name string) (Kind, error) {
	f, err := store.Open(ctx, name)
	if err != nil {
		return Kind{}, err
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
		return Kind{}, err // of the share
	} else if job.CodeOf(vhdErr) != "" {
		return Kind{}, vhdErr
	} else {
		return Kind{Unreadable: err}, nil
	}
	return Kind{Parent: strings.TrimPrefix(relative, `.\`)}, nil
}
