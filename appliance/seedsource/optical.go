package seedsource

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"imageport/appliance/seedsource/media"
	"imageport/job/seed"
)

// maxOVF bounds an OVF environment, which also has other people's properties.
const maxOVF = 1 << 20

// drives are the optical drives, one source each. Without any, there is one
// source that says so.
func (e Env) drives() []source {
	drives, err := filepath.Glob(filepath.Join(e.Sys, "class/block/sr*"))
	if err != nil || len(drives) == 0 {
		return []source{{"optical drive", func(context.Context, Env) ([]byte, error) { return nil, errors.New("none") }}}
	}
	slices.Sort(drives)
	var out []source
	for _, drive := range drives {
		name := filepath.Base(drive)
		out = append(out, source{name, func(_ context.Context, env Env) ([]byte, error) {
			return env.disc(filepath.Join(env.Dev, name))
		}})
	}
	return out
}

// disc looks at the disc in a drive: our file, or an OVF environment.
func (e Env) disc(device string) ([]byte, error) {
	volume, err := e.Mount(device)
	if err != nil {
		return nil, err
	}
	// Nothing was written: what unmounting says changes nothing.
	defer volume.Close()
	raw, err := readVolume(volume, media.File, seed.MaxBytes)
	if !errors.Is(err, fs.ErrNotExist) {
		return raw, err
	}
	document, err := readVolume(volume, media.OVFFile, maxOVF)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no " + media.File + ", no " + media.OVFFile)
	}
	if err != nil {
		return nil, err
	}
	return ovfEnvironment(document)
}

func readVolume(volume fs.FS, name string, max int) ([]byte, error) {
	f, err := volume.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, max)
}
