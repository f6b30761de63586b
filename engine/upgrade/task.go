package upgrade

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"imageport/engine/catalogue"
	"imageport/engine/inject"
	"imageport/engine/publish"
	"imageport/engine/reverse"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/engine/windows/pvstarget"
	"imageport/job"
)

// Task is one upgrade: which image, to which version, and what is to become of it.
type Task struct {
	// Copy brings the image to the working disk.
	Copy reverse.Task `json:"copy"`
	// Output is the file name of the upgraded copy.
	Output    string `json:"output"`
	Overwrite bool   `json:"overwrite,omitempty"`
	// Version is that of the catalogue.
	Version string `json:"version"`
	// Force installs although the image has that version already.
	Force bool `json:"force,omitempty"`
	// Verify is job.VerifyFull or "".
	Verify string `json:"verify,omitempty"`
	// Timeout is how long the guest may be on in all.
	Timeout time.Duration `json:"timeout"`
}

// Approval is what preflight found out: the job may go ahead on this source, with
// this installer.
type Approval struct {
	Copy reverse.Approval `json:"copy"`
	// Catalogue is where Installer comes from.
	Catalogue Catalogue           `json:"catalogue"`
	Installer catalogue.Installer `json:"installer"`
	// Before is what the image has.
	Before pvstarget.Facts `json:"before"`
	// BlockBytes is the size of the base's blocks, which those of the output have;
	// 0 if it has none.
	BlockBytes int64 `json:"blockBytes,omitempty"`
	// Existing is the output that the job may replace; nil where there is none.
	Existing *source.FileID `json:"existing,omitempty"`
}

// Admitted is the outcome of a preflight.
type Admitted struct {
	Approval Approval `json:"approval"`
	// Preview is what the job will make, as the result of a dry run.
	Preview job.Result `json:"preview"`
	// Done says that the image has the version already: there is nothing to do.
	Done bool `json:"done,omitempty"`
}

// Catalogue is where installers are: a folder on a share, or a directory of the
// machine that is worker and Compositing Engine at once.
type Catalogue struct {
	Share *job.StorageLocation `json:"share,omitempty"`
	Dir   string               `json:"dir,omitempty"`
}

// Dial opens the folder of a storage location.
type Dial func(ctx context.Context, where job.StorageLocation) (share.Store, error)

// Open opens a folder of the catalogue, given by its path with slashes; "" is
// the catalogue's own.
func (c Catalogue) Open(ctx context.Context, dial Dial, folder string) (share.Store, error) {
	if c.Share == nil {
		return share.Dir(filepath.Join(c.Dir, filepath.FromSlash(folder)))
	}
	where := *c.Share
	if folder != "" {
		if where.Location != "" {
			where.Location = strings.TrimRight(where.Location, `/\`) + "/" + folder
		} else {
			where.SharePath = strings.TrimRight(where.SharePath, `/\`) + "/" + folder
		}
	}
	return dial(ctx, where)
}

// String is the catalogue's place, for people.
func (c Catalogue) String() string {
	if c.Share == nil {
		return c.Dir
	}
	folder, err := c.Share.Folder()
	if err != nil {
		return cmp.Or(c.Share.Location, c.Share.SharePath)
	}
	return folder.UNC("")
}

// dial is Open, for package catalogue.
func (c Catalogue) dial(dial Dial) catalogue.Dial {
	return func(ctx context.Context, folder string) (share.Store, error) { return c.Open(ctx, dial, folder) }
}

// file opens a file of an installer. One that is not there is job.InstallerNotFound.
func (c Catalogue) file(ctx context.Context, dial Dial, f catalogue.File, in catalogue.Installer) (share.File, error) {
	file, err := catalogue.OpenFile(ctx, c.dial(dial), f.Path)
	// The catalogue itself is there: it is a folder below it that is not.
	if errors.Is(err, fs.ErrNotExist) || job.CodeOf(err) == job.ShareNotFound {
		return nil, job.Errorf(job.InstallerNotFound, "Put it there, or run imageport catalogue check", "%s names %s for version %s, and there is no such file", c, f.Path, in.Version)
	}
	return file, job.At("the catalogue's "+f.Path, err)
}

// names are those of the job's files on the share.
func (t Task) names() publish.Names { return publish.Names{Output: t.Output, Key: t.Copy.Key} }

// partition is that of the Windows.
func (a Approval) partition() inject.Partition {
	return inject.Partition{Number: a.Before.Partition, Offset: a.Before.Offset, SizeBytes: a.Before.SizeBytes}
}

// want is what the Windows must have afterwards.
func (a Approval) want() pvstarget.Want {
	v := a.Installer.Verify
	want := pvstarget.Want{ProductVersion: a.Installer.ProductVersion, NamePattern: v.DisplayName, Services: v.Services, Files: v.Files}
	if len(want.Services) == 0 { // what was there must be there
		for _, s := range a.Before.Services {
			if s.HasFile && !s.Deleted {
				want.Services = append(want.Services, s.Name)
			}
		}
	}
	return want
}
