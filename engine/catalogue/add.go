package catalogue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"imageport/engine/catalogue/peversion"
	"imageport/engine/share"
	"imageport/job"
)

// newName is the claim of an Add, and then the new catalogue.
const newName = FileName + ".new"

// Addition is an installer to add.
type Addition struct {
	// Source is its file, of so many bytes, and Name what that is called.
	Source    io.ReaderAt
	SizeBytes int64
	Name      string
	// Version is what requests will name.
	Version string
	// Arch is that of the Windows that it is for. By default it is x64; or arm64
	// for a program for that. A 32-bit program tells nothing.
	Arch string
	// ProductVersion is by default that of the file.
	ProductVersion string
	// Args and MinFrom are as in Installer. Nil and "" leave them out.
	Args    *string
	MinFrom string
	// As is the path of the file in the catalogue, in a folder that is there. By
	// default it lies beside FileName, as the version with the name.
	As string
	// Replace has it take the place of the installer of the same version. What
	// that has, and this does not give, stays.
	Replace bool
}

// Added is what Add did.
type Added struct {
	Installer Installer `json:"installer"`
	// Copied says that the file was not there before.
	Copied bool `json:"copied"`
	// Replaced is the file of the installer that was replaced, if it is another. It
	// is still there, for the jobs that may be using it.
	Replaced string   `json:"replaced,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Add copies an installer into the catalogue and enters it. The folders that dial
// opens must outlast ctx: when that ends, Add cleans up. Of two that add at the
// same time, one is refused with job.OutputInUse; one that was cut off leaves its
// claim, which the refusal names. Report, if any, is told of the copying.
func Add(ctx context.Context, dial Dial, a Addition, report func(doneBytes, totalBytes int64)) (Added, error) {
	root, err := dial(ctx, "")
	if err != nil {
		return Added{}, err
	}
	defer root.Close()
	claim, err := root.CreateExcl(ctx, newName)
	if errors.Is(err, fs.ErrExist) {
		return Added{}, job.Errorf(job.OutputInUse, "Try again when that has ended. If nobody does, it was cut off: remove "+newName,
			"somebody is adding to the catalogue%s: there is a file %s", since(ctx, root), newName)
	}
	if err != nil {
		return Added{}, err
	}
	added, err := a.add(ctx, dial, root, claim, report)
	if err != nil {
		_ = claim.Close() // it goes
		if gone := root.Remove(context.WithoutCancel(ctx), newName); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return added, err
}

// since says how old the claim is, if that can be told.
func since(ctx context.Context, root share.Store) string {
	info, err := root.Stat(ctx, newName)
	if err != nil {
		return ""
	}
	return " since " + info.ModTime.Local().Format(time.DateTime)
}

func (a Addition) add(ctx context.Context, dial Dial, root share.Store, claim share.WritableFile, report func(int64, int64)) (Added, error) {
	text, err := read(ctx, root)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = []byte(`{"installers": []}`), nil
	}
	if err != nil {
		return Added{}, err
	}
	c, err := Parse(text)
	if err != nil {
		return Added{}, err
	}
	in, err := a.describe(ctx)
	if err != nil {
		return Added{}, err
	}
	at := -1
	for i, other := range c.Installers {
		if other.is(in.Product, in.Version, in.Arch) {
			at = i
		}
	}
	if at >= 0 && !a.Replace {
		return Added{}, job.Errorf(job.OutputExists, "Replace it with --replace, or give another version",
			"the catalogue has %v already: %s", c.Installers[at], c.Installers[at].File)
	}
	place, err := a.place(ctx, dial, in)
	if err != nil {
		return Added{}, err
	}
	defer place.folder.Close()
	in.File = place.path
	old := ""
	if at >= 0 && c.Installers[at].File != in.File {
		old = c.Installers[at].File
	}
	// What would not be valid is refused before anything is copied.
	text, err = enter(text, at, a.members(in))
	if err != nil {
		return Added{}, err
	}
	if c, err = Parse(text); err != nil {
		return Added{}, job.At("with the installer in it", err)
	}
	done := Added{Copied: !place.there, Replaced: old, Warnings: c.Warnings}
	if at >= 0 {
		done.Installer = c.Installers[at]
	} else {
		done.Installer = c.Installers[len(c.Installers)-1]
	}
	if place.there {
		return done, publish(ctx, root, claim, text)
	}
	if err := a.copy(ctx, place, in.SHA256, report); err != nil {
		return Added{}, err
	}
	if err := publish(ctx, root, claim, text); err != nil {
		return Added{}, errors.Join(err, place.folder.Remove(context.WithoutCancel(ctx), path.Base(place.path)))
	}
	return done, nil
}

// describe says what is known of the installer from its file.
func (a Addition) describe(ctx context.Context) (Installer, error) {
	in := Installer{Product: ProductPVSTarget, Version: strings.TrimSpace(a.Version), Arch: strings.ToLower(a.Arch), ProductVersion: a.ProductVersion, MinFrom: a.MinFrom}
	if !versionName.MatchString(in.Version) {
		return in, job.Errorf(job.BadRequest, "Give what requests will name, such as 2311", "%q cannot be the version of an installer", a.Version)
	}
	if !isPackage(a.Name) {
		v, err := peversion.Read(a.Source, a.SizeBytes)
		switch {
		case errors.Is(err, peversion.ErrNotPE):
			return in, job.Errorf(job.BadRequest, "Give the installer's program (.exe) or package (.msi)", "%s: %w", a.Name, err)
		case err != nil && !errors.Is(err, peversion.ErrNoVersion) && !errors.Is(err, peversion.ErrCorrupt):
			return in, fmt.Errorf("%s: %w", a.Name, err)
		}
		if in.Arch == "" && v.Arch == ArchARM64 {
			in.Arch = ArchARM64
		}
		if arch := cmp.Or(in.Arch, ArchX64); runsOn[arch] != nil && !slices.Contains(runsOn[arch], v.Arch) {
			return in, job.Errorf(job.BadRequest, "Give another installer, or the processor that it is for with --arch",
				"%s is a program for %s, which a Windows for %s does not run", a.Name, v.Arch, arch)
		}
		if in.ProductVersion == "" {
			in.ProductVersion = numbersOf(v.ProductVersion)
		}
		if in.ProductVersion == "" {
			return in, job.Errorf(job.BadRequest, "Give it with --product-version, as Windows lists the product when it is installed",
				"%s has the product version %q, which is none of numbers", a.Name, v.ProductVersion)
		}
	}
	if in.ProductVersion == "" {
		return in, job.Errorf(job.BadRequest, "Give it with --product-version, as Windows lists the product when it is installed",
			"%s is a package, whose product version is not read", a.Name)
	}
	in.Arch = cmp.Or(in.Arch, ArchX64)
	var err error
	in.SHA256, err = hashOf(ctx, a.Source, a.SizeBytes, nil)
	return in, err
}

// place is where the file goes, or is already.
type place struct {
	folder share.Store
	path   string
	there  bool
}

// place finds a path for the file: one where it is already, or where nothing is.
// Where the name is taken by another file, a part of the hash comes before it:
// jobs may be using that one.
func (a Addition) place(ctx context.Context, dial Dial, in Installer) (place, error) {
	candidates := []string{slashed(a.As)}
	if a.As == "" {
		candidates = []string{in.Version + "-" + a.Name, in.Version + "-" + in.SHA256[:8] + "-" + a.Name}
	}
	if why := badPath(candidates[0]); why != "" {
		return place{}, job.Errorf(job.BadRequest, "Give a path below the catalogue's folder with --as", "%q cannot be the path of the installer: it %s", candidates[0], why)
	}
	dir, _ := splitPath(candidates[0])
	folder, err := dial(ctx, dir)
	if job.CodeOf(err) == job.ShareNotFound && dir != "" {
		return place{}, job.Errorf(job.ShareNotFound, "Make the folder first, or leave out --as", "the catalogue has no folder %s: %w", dir, err)
	}
	if err != nil {
		return place{}, err
	}
	for _, file := range candidates {
		var there bool
		there, err = a.isThere(ctx, folder, path.Base(file), in.SHA256)
		if there || errors.Is(err, fs.ErrNotExist) {
			return place{folder, file, there}, nil
		}
		if err != nil {
			break
		}
		err = job.Errorf(job.OutputExists, "Give another path with --as, or remove that file if no job uses it", "there is another file %s in the catalogue", file)
	}
	_ = folder.Close() // err says more
	return place{}, err
}

// isThere reports whether a file is the one to add. The error is fs.ErrNotExist
// if there is no file of that name.
func (a Addition) isThere(ctx context.Context, folder share.Store, name, hash string) (bool, error) {
	f, err := folder.Open(ctx, name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if f.Size() != a.SizeBytes {
		return false, nil
	}
	have, err := hashOf(ctx, f, f.Size(), nil)
	return have == hash, err
}

// copy brings the file to its place: complete, or not at all.
func (a Addition) copy(ctx context.Context, to place, hash string, report func(int64, int64)) (err error) {
	name := path.Base(to.path)
	partial := name + ".partial"
	// Nobody else adds while we have the claim: one that is there was cut off.
	if err := to.folder.Remove(ctx, partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w, err := to.folder.CreateExcl(ctx, partial)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = w.Close() // twice does no harm
			err = errors.Join(err, to.folder.Remove(context.WithoutCancel(ctx), partial))
		}
	}()
	copied, err := hashOf(ctx, a.Source, a.SizeBytes, func(piece []byte, at int64) error {
		_, err := w.WriteAt(piece, at)
		if report != nil {
			report(at+int64(len(piece)), a.SizeBytes)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case copied != hash:
		return job.Errorf(job.SourceChanged, "Try again when nothing writes to it", "%s changed while it was copied", a.Name)
	}
	if err := w.Sync(); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return move(ctx, to.folder, partial, name)
}

// move renames. A connection that is lost meanwhile leaves open whether it was
// done: that the old name is gone tells.
func move(ctx context.Context, folder share.Store, from, to string) error {
	err := folder.Rename(ctx, from, to)
	if job.CodeOf(err) == job.ShareIO {
		if _, gone := folder.Stat(ctx, from); errors.Is(gone, fs.ErrNotExist) {
			return nil
		}
	}
	return err
}

// publish puts the new catalogue into the place of the old one, which stays as
// previousName. A share's rename does not replace, so there is a moment without a
// catalogue, for which read looks at the previous one.
func publish(ctx context.Context, root share.Store, claim share.WritableFile, text []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // from here on it is done to the end
	if _, err := claim.WriteAt(text, 0); err != nil {
		return err
	}
	if err := claim.Sync(); err != nil {
		return err
	}
	if err := claim.Close(); err != nil {
		return err
	}
	_, err := root.Stat(ctx, FileName)
	had := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if had {
		if err := root.Remove(ctx, previousName); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := move(ctx, root, FileName, previousName); err != nil {
			return err
		}
	}
	if err := move(ctx, root, newName, FileName); err != nil {
		if had {
			err = errors.Join(err, move(ctx, root, previousName, FileName))
		}
		return err
	}
	return nil
}
