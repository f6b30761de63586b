package diskimage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/container"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
	"imageport/job"
)

// Problem is one thing that is wrong with an image.
type Problem struct {
	// File is the name of the file.
	File string `json:"file"`
	// Structure at OffsetBytes in the file is what is wrong. They are absent
	// where only Detail names them.
	Structure   string   `json:"structure,omitempty"`
	OffsetBytes *int64   `json:"offsetBytes,omitempty"`
	Detail      string   `json:"detail"`
	Code        job.Code `json:"code"`
	Remedy      string   `json:"remedy,omitempty"`
}

// Checked is what Check has looked at and found.
type Checked struct {
	// Files are those that were verified, the base first.
	Files    []string  `json:"files"`
	Problems []Problem `json:"problems"`
}

// Check verifies the structures of an image and of its parents, and that they
// belong together. An image whose chain cannot be opened is verified alone.
//
// The error is for what keeps it from looking: the file is not there or not an
// image, the share is gone, ctx has ended.
func Check(ctx context.Context, in Input) (Checked, error) {
	c, err := Open(ctx, in)
	if err != nil {
		return checkAlone(ctx, in, err)
	}
	found := Checked{Files: []string{}, Problems: []Problem{}}
	for _, l := range c.Layers() {
		found.Files = append(found.Files, l.Name)
	}
	err = c.Check(ctx, func(layer int, p container.Problem) { found.add(found.Files[layer], &p) })
	if err = errors.Join(Coded(err), c.Close()); err != nil {
		return Checked{}, err
	}
	return found, nil
}

// checkAlone verifies an image whose chain could not be opened because of err.
func checkAlone(ctx context.Context, in Input, err error) (Checked, error) {
	if !refused(err) {
		return Checked{}, err
	}
	format, sniffErr := sniff(ctx, in)
	if sniffErr != nil {
		return Checked{}, Coded(sniffErr)
	}
	if format != chain.VHDX && format != chain.VHD {
		return Checked{}, err
	}
	found := Checked{Files: []string{in.Name}, Problems: []Problem{}}
	broken := found.verify(ctx, in, format)
	if errors.Is(broken, errNotOpened) {
		return found, nil // which is why the chain did not open
	}
	if broken != nil {
		return Checked{}, broken
	}
	// The image can be opened by itself: it is about its parents, and structure
	// and offset, if err has them, are those of another file.
	found.Problems = slices.Insert(found.Problems, 0, newProblem(in.Name, err))
	return found, nil
}

// refused reports whether err is about what is in the files.
func refused(err error) bool {
	return !errors.Is(err, fs.ErrNotExist) && slices.ContainsFunc(refusals, func(r refusal) bool { return errors.Is(err, r.kind) })
}

// sniff gives the container of a file by its signature.
func sniff(ctx context.Context, in Input) (format chain.Container, err error) {
	f, err := in.Folder.Open(ctx, in.Name)
	if err != nil {
		return "", err
	}
	kind, err := vhdx.SniffFile(f, f.Size())
	return chain.Container(kind), errors.Join(err, f.Close())
}

// errNotOpened says that a file has a problem that ends its verification.
var errNotOpened = errors.New("image cannot be opened")

// verify looks at all structures of one file.
func (c *Checked) verify(ctx context.Context, in Input, format chain.Container) (err error) {
	f, err := in.Folder.Open(ctx, in.Name)
	if err != nil {
		return Coded(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var im interface {
		Check(ctx context.Context, report func(container.Problem)) error
	}
	if format == chain.VHDX {
		im, err = vhdx.OpenWith(f, f.Size(), vhdx.OpenOptions{ReplayLog: true})
	} else {
		im, err = vhd.Open(f, f.Size())
	}
	switch {
	case err != nil && refused(err):
		c.add(in.Name, err)
		return errNotOpened
	case err != nil:
		return Coded(err)
	}
	return Coded(im.Check(ctx, func(p container.Problem) { c.add(in.Name, &p) }))
}

// remedyReadable is what to do about a file whose disk can be read all the same.
const remedyReadable = "Its contents can be read: convert it to a new image"

// add adds an error about the structures of a file.
func (c *Checked) add(name string, err error) {
	p := newProblem(name, err)
	if at, ok := errors.AsType[*container.Problem](err); ok {
		p.Structure, p.OffsetBytes, p.Detail = at.Structure, &at.Offset, fmt.Sprintf("%s: %v", at.Detail, at.Kind)
		if at.Readable && p.Code != job.DiskDirtyLog { // whose own remedy keeps the image
			p.Remedy = remedyReadable
		}
	}
	c.Problems = append(c.Problems, p)
}

// newProblem is an error of a library, or a coded one, as a problem of a file.
func newProblem(name string, err error) Problem {
	p := Problem{File: name, Detail: err.Error()}
	if e, ok := errors.AsType[*job.Error](Coded(err)); ok {
		p.Detail, p.Code, p.Remedy = e.Message, e.Code, e.Remedy
	}
	return p
}
