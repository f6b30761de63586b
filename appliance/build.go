package appliance

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"imageport/appliance/deb"
	"imageport/appliance/export"
	"imageport/appliance/initramfs"
	"imageport/appliance/lock"
	"imageport/appliance/uki"
	"imageport/job"
)

// Name is what the appliance is called, and what its files begin with.
const Name = "imageport-ce"

const title = "imageport Compositing Engine"

// MaxSize is what a UKI must not be larger than, in bytes: it is uploaded, read
// by slow firmware, and held in memory twice while it boots.
const MaxSize = 26 << 20

// Options say what an appliance is built of, and where to.
type Options struct {
	Lock     lock.Lock
	Packages [][]byte // of the lock, in its order, as lock.Store gives them

	Agent    string          // path of the static program
	Version  string          // of the product; empty means that of the agent's module
	Time     time.Time       // of all that is built; zero means the lock's date
	SignWith string          // a command that signs {in} and writes {out}; empty means none
	Formats  []export.Format // files to make besides the UKI
	BIOS     bool            // disks start on BIOS machines, too

	Dir  string                           // where the files go
	Step func(format string, args ...any) // is told what has been done; may be nil
}

// Result is what was built.
type Result struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Kernel  string `json:"kernel"`
	Lock    string `json:"lock"` // the SHA-256 of the lock
	// Digest is the SHA-256 of the UKI: what an uploaded appliance is named by.
	Digest string `json:"digest"`
	// Unsigned is that of the UKI before it was signed, "" if it was not: a
	// signature is not reproducible.
	Unsigned string `json:"unsigned,omitempty"`
	Files    []File `json:"files"`
}

// File is one of the files of an appliance.
type File struct {
	Format    string `json:"format"` // uki, sbom, or an export.Format
	Path      string `json:"path"`
	SizeBytes int64  `json:"sizeBytes"`
	SHA256    string `json:"sha256"`
}

// Build makes the files of an appliance. Each appears complete or not at all.
func Build(ctx context.Context, o Options) (Result, error) {
	if o.Step == nil {
		o.Step = func(string, ...any) {}
	}
	if o.Time.IsZero() {
		o.Time = o.Lock.Date
	}
	for _, f := range o.Formats {
		if f.Suffix() == "" {
			return Result{}, fmt.Errorf("%w: %q, want some of %v", export.ErrFormat, f, export.Formats())
		}
	}
	a, err := readAgent(o.Agent, o.Version)
	if err != nil {
		return Result{}, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil { // before the work is done in vain
		return Result{}, err
	}
	image, release, err := o.image(ctx, a)
	if err != nil {
		return Result{}, err
	}
	r := Result{Name: Name, Version: a.version, Kernel: release, Lock: o.Lock.SHA256(), Digest: digest(image)}
	if o.SignWith != "" {
		r.Unsigned = r.Digest
		if image, err = sign(ctx, o.SignWith, image); err != nil {
			return Result{}, err
		}
		r.Digest = digest(image)
		o.Step("signed")
	}
	if len(image) > MaxSize {
		return Result{}, fmt.Errorf("the appliance has %d bytes, want at most %d", len(image), MaxSize)
	}
	return r, o.write(ctx, a, image, &r)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// agent is the program in the appliance.
type agent struct {
	program []byte
	info    *buildinfo.BuildInfo
	version string
}

// What can stand in file names, os-release files and OVF descriptors.
var validVersion = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+~_-]{0,63}$`)

func readAgent(path, version string) (agent, error) {
	program, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return agent{}, job.Errorf(job.BadRequest, "Build it with CGO_ENABLED=0 go build ./cmd/imageport-ce, or name it with --agent", "there is no agent for the appliance: %w", err)
	}
	if err != nil {
		return agent{}, err
	}
	if err := initramfs.CheckStatic(program); err != nil {
		return agent{}, fmt.Errorf("the agent %s: %w", path, err)
	}
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return agent{}, fmt.Errorf("the agent %s: %w", path, err)
	}
	version = cmp.Or(version, strings.Trim(info.Main.Version, "()"), "devel")
	if !validVersion.MatchString(version) {
		return agent{}, job.Errorf(job.BadRequest, "Give another one with --version", "%q is no version of an appliance", version)
	}
	return agent{program, info, version}, nil
}

// image makes the UKI, and gives the kernel's release with it.
func (o Options) image(ctx context.Context, a agent) (image []byte, release string, err error) {
	files, err := unpack(ctx, o.Lock, o.Packages)
	if err != nil {
		return nil, "", err
	}
	o.Step("unpacked %d packages: %d files", len(o.Packages), len(files))
	kernel, err := initramfs.FindKernel(files)
	if err != nil {
		return nil, "", err
	}
	stub, _, ok := files.Find(stubPath)
	if !ok {
		return nil, "", fmt.Errorf("%s is in none of the packages", stubPath)
	}
	tree, err := root(kernel, files, a.program, releaseFile(a.version, o.Lock))
	if err != nil {
		return nil, "", err
	}
	var archive bytes.Buffer
	if err := tree.Write(&archive, o.Time); err != nil {
		return nil, "", err
	}
	initrd, err := compress(archive.Bytes())
	if err != nil {
		return nil, "", err
	}
	o.Step("initramfs: %.1f MiB, %.1f MiB compressed; kernel %s: %.1f MiB", mib(archive.Len()), mib(len(initrd)), kernel.Release, mib(len(kernel.Image)))
	// systemd-stub(7) looks them up by name; in memory the kernel comes last, so
	// that it has room behind it.
	image, err = uki.Build(stub.Data, []uki.Section{
		{Name: ".osrel", Data: []byte(osRelease(a.version))},
		{Name: ".cmdline", Data: []byte(commandLine)},
		{Name: ".uname", Data: []byte(kernel.Release)},
		{Name: ".initrd", Data: initrd},
		{Name: ".linux", Data: kernel.Image},
	})
	if err != nil {
		return nil, "", err
	}
	o.Step("UKI: %.1f MiB", mib(len(image)))
	return image, kernel.Release, ctx.Err()
}

func mib(n int) float64 { return float64(n) / (1 << 20) }

// unpack gives the files of all packages that may be needed.
func unpack(ctx context.Context, l lock.Lock, packages [][]byte) (deb.Tree, error) {
	if len(packages) != len(l.Packages) {
		return nil, fmt.Errorf("%d packages for a lock of %d", len(packages), len(l.Packages))
	}
	trees := make([]deb.Tree, len(packages))
	var group errgroup.Group
	for i, pkg := range packages {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			trees[i] = deb.Tree{}
			if err := trees[i].Unpack(pkg, needed); err != nil {
				return fmt.Errorf("%s: %w", l.Packages[i], err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := deb.Tree{}
	for i, tree := range trees {
		for name, file := range tree {
			if _, twice := all[name]; twice {
				return nil, fmt.Errorf("%s: another package has %s, too", l.Packages[i], name)
			}
			all[name] = file
		}
	}
	return all, nil
}

// compress makes the same bytes of the same bytes on every machine: with one
// encoder after the other, as blocks else depend on the number of processors.
func compress(b []byte) ([]byte, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return e.EncodeAll(b, nil), e.Close()
}
