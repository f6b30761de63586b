package convert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"imageport/engine/publish"
	"imageport/engine/pvs"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

// Version is the vDisk's version that the output becomes, with the files that
// belong to it.
type Version struct {
	Number int    `json:"number"`
	Output string `json:"output"`
	// Properties is the version's properties file, a copy of PropertiesFrom;
	// both are empty where the vDisk has none.
	Properties     string  `json:"properties,omitempty"`
	PropertiesFrom string  `json:"propertiesFrom,omitempty"`
	PropertiesFile *FileID `json:"propertiesFile,omitempty"` // of PropertiesFrom
	// Manifest lists the versions; ManifestFile is what it was before, nil if
	// there was none.
	Manifest     string  `json:"manifest"`
	ManifestFile *FileID `json:"manifestFile,omitempty"`

	warnings []string // for the preview
}

// nextVersion decides which version the output becomes; nil where the request
// names its file.
func nextVersion(ctx context.Context, store share.Store, t Task) (*Version, error) {
	if t.Output != "" {
		return nil, nil
	}
	files, err := store.List(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.Name
	}
	next, err := pvs.NextVersion(names, t.Input)
	if err != nil {
		return nil, versionError(err)
	}
	v := &Version{Number: next.Number, Output: next.File, Manifest: next.Manifest}
	if folder, err := t.Storage.Folder(); err == nil {
		if err := pvs.CheckPath(folder.UNC(""), v.Output); err != nil {
			v.warnings = append(v.warnings, err.Error()) // the PVS server may see a shorter one
		}
	}
	if next.PropertiesFrom == "" {
		v.warnings = append(v.warnings, fmt.Sprintf("there is no properties file (.pvp) of %s to copy: PVS will not add the version without one", t.Input))
	} else {
		v.Properties, v.PropertiesFrom = next.Properties, next.PropertiesFrom
		if v.PropertiesFile, err = source.Stat(ctx, store, v.PropertiesFrom); err != nil {
			return nil, err
		}
		if there, err := source.Stat(ctx, store, v.Properties); err != nil {
			return nil, err
		} else if there != nil {
			return nil, job.Errorf(job.OutputExists, "Remove it if there is no such version", "there is a file %s already, but no version %d", v.Properties, v.Number)
		}
	}
	if v.ManifestFile, err = source.Stat(ctx, store, v.Manifest); err != nil {
		return nil, err
	}
	// That the manifest can take the version is found out before the work.
	_, err = v.manifest(ctx, store, FileID{})
	return v, err
}

// pvsSteps is what to do with the output in PVS. An output beside a local image
// is in no store.
func (t Task) pvsSteps(v *Version) *job.PVSSteps {
	folder, err := t.Storage.Folder()
	if err != nil {
		return nil
	}
	out := pvs.Output{Folder: folder.UNC(""), Input: t.Input, File: t.Output}
	if v != nil {
		out.Version = v.Number
		for _, p := range []string{v.Properties, v.Manifest} {
			if p != "" {
				out.Files = append(out.Files, p)
			}
		}
	}
	steps := pvs.Steps(out)
	return &steps
}

// versionError gives an error of package pvs its code.
func versionError(err error) error {
	switch {
	case job.CodeOf(err) != "":
		return err
	case errors.Is(err, pvs.ErrNotLatest):
		return job.Errorf(job.NotLatestVersion, "Convert the latest version", "%w", err)
	case errors.Is(err, pvs.ErrManifest):
		return publish.ManifestInvalid(err)
	case errors.Is(err, pvs.ErrName):
		return job.Errorf(job.BadRequest, "Give the outputImageFilename instead of pvsVersion", "%w", err)
	}
	return err
}

// manifest gives the manifest with the version added, whose file is output.
func (v *Version) manifest(ctx context.Context, store share.Store, output FileID) ([]byte, error) {
	files, err := store.List(ctx)
	if err != nil {
		return nil, err
	}
	listing := make([]pvs.File, len(files))
	for i, f := range files {
		listing[i] = pvs.File{Name: f.Name, Size: f.Size, Modified: f.ModTime}
	}
	var old []byte
	if v.ManifestFile != nil {
		if old, err = publish.ReadSmall(ctx, store, v.Manifest, *v.ManifestFile); err != nil {
			return nil, err
		}
	}
	if old != nil {
		m, err := pvs.ParseManifest(old)
		if err != nil {
			return nil, versionError(err)
		}
		found, err := m.Check(listing)
		if err != nil {
			return nil, versionError(err)
		}
		v.warnings = append(v.warnings, found...)
	}
	out, err := pvs.AddVersion(old, listing, pvs.File{Name: v.Output, Size: output.SizeBytes, Modified: output.Modified})
	return out, versionError(err)
}

// pieces writes the files of the version under partial names, now that the
// output is known.
func (v *Version) pieces(ctx context.Context, store share.Store, t Task, attempt string, output FileID) ([]Piece, error) {
	var made []Piece
	add := func(name string, existing *FileID, data []byte) error {
		p := Piece{Name: name, Partial: t.names().PartialOf(attempt, name), Existing: existing}
		f, err := store.CreateExcl(ctx, p.Partial)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(data, 0)
		if err == nil {
			err = f.Sync()
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		written, err := readBack(ctx, store, p.Partial, data)
		p.File = written
		made = append(made, p)
		return err
	}
	if v.Properties != "" {
		data, err := publish.ReadSmall(ctx, store, v.PropertiesFrom, *v.PropertiesFile)
		if err != nil {
			return nil, err
		}
		if err := add(v.Properties, nil, data); err != nil {
			return nil, err
		}
	}
	data, err := v.manifest(ctx, store, output)
	if err != nil {
		return nil, err
	}
	err = add(v.Manifest, v.ManifestFile, data)
	return made, err
}

// readBack makes sure that a file is on the share as it was written.
func readBack(ctx context.Context, store share.Store, name string, want []byte) (FileID, error) {
	f, err := store.Open(ctx, name)
	if err != nil {
		return FileID{}, err
	}
	defer f.Close()
	b := make([]byte, len(want)+1)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return FileID{}, err
	}
	if !bytes.Equal(b[:n], want) {
		return FileID{}, job.Errorf(job.VerifyFailed, "Start the job again", "%s, read back, is not what was written: %w", name, fmt.Errorf("%d bytes instead of %d", n, len(want)))
	}
	return FileID{SizeBytes: f.Size(), Modified: f.ModTime().UTC()}, nil
}
