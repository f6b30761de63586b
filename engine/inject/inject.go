package inject

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"imageport/engine/ntfsmount"
	"imageport/engine/windows/offline"
	"imageport/firstboot/plan"
	"imageport/job"
)

// Injection is what to put into a Windows.
type Injection struct {
	Partition Partition
	Plan      plan.Plan
	// Runner is the program that does what Plan says.
	Runner []byte
	// Files are those that the plan's steps name.
	Files []File
}

// File goes into plan.FilesDir.
type File struct {
	Name      string
	SizeBytes int64
	SHA256    string // hexadecimal
	Open      func(ctx context.Context) (io.ReadCloser, error)
}

// Injected is what was changed.
type Injected struct {
	// Changes are for people.
	Changes []job.FixUp `json:"changes,omitempty"`
	Undo    Undo        `json:"undo"`
}

// Room that has to be free on the volume: that which an installer needs, as a
// multiple of its size, and for all else, in bytes.
const (
	roomFactor = 3
	roomBytes  = 1 << 30
)

// Room is what has to be free on the volume for installer files of so many bytes.
func Room(installer int64) int64 { return roomFactor*installer + roomBytes }

// Inject puts runner, plan and files into a Windows, and has it start the runner.
// The disk must hold a copy that nothing was injected into before. After an error
// of a file that came from elsewhere, it may be tried again on the same disk. The error is a
// job.Error: WindowsFull, LeftoverRunner, InstallerHashMismatch, those of
// offline.Volume.OpenWindows, of ntfs-3g or of the disk; or that of File.Open.
func Inject(ctx context.Context, disk Disk, in Injection, report func(job.Progress)) (Injected, error) {
	d := target{disk}
	if err := d.inside(in.Partition); err != nil {
		return Injected{}, err
	}
	encoded, err := in.check()
	if err != nil {
		return Injected{}, err
	}
	report(job.Progress{Step: "inject"})
	w, err := openWindows(d, in.Partition)
	if err != nil {
		return Injected{}, err
	}
	r, err := newRegistry(w)
	if err != nil {
		return Injected{}, err
	}
	if err := in.refuse(r); err != nil {
		return Injected{}, err
	}
	if r.System.Entries > 0 {
		r.fixUps = append(r.fixUps, completed(r.System, offline.PathSystem))
	}
	undo, err := r.arm()
	if err != nil {
		return Injected{}, err
	}
	system, err := sealed(w.Volume, offline.PathSystem, r.System)
	if err != nil {
		return Injected{}, err
	}
	home, err := newHome(w.Volume)
	if err != nil {
		return Injected{}, err
	}
	undo.MadeParent = !home.hasParent
	err = mounted(ctx, d, in.Partition, func(m *ntfsmount.Mounted) error {
		home.m = m
		if err := firstError(
			home.make,
			func() error { return home.write(plan.RunnerFile, in.Runner) },
			func() error { return home.write(plan.PlanFile, encoded) },
			func() error { return in.copy(ctx, home, report) },
		); err != nil {
			// If that fails too, the next Inject says what is in its way.
			_ = home.remove()
			return err
		}
		// The hive comes last: what is not complete is not started.
		return system.write(m)
	})
	if err != nil {
		return Injected{}, err
	}
	if err := settled(d, in.Partition, func(v *offline.Volume) error { return in.verify(v, system, encoded) }); err != nil {
		return Injected{}, err
	}
	made := job.FixUp{What: plan.Folder, New: fmt.Sprintf("runner, plan and %d files of %d bytes", len(in.Files), in.bytes()), Why: whyService}
	return Injected{Changes: append([]job.FixUp{made}, r.fixUps...), Undo: undo}, nil
}

// firstError calls steps up to the first that fails.
func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// check refuses what a runner could not follow, and gives plan.json.
func (in Injection) check() ([]byte, error) {
	defect := func(format string, args ...any) error {
		return job.Errorf(job.Internal, "Report it; nothing was changed", format, args...)
	}
	encoded, err := in.Plan.Encode()
	if err != nil {
		return nil, defect("%w", err)
	}
	if len(in.Runner) == 0 {
		return nil, defect("there is no runner to inject")
	}
	var names []string
	for _, f := range in.Files {
		if f.Name == "" || f.Name == "." || f.Name == ".." || strings.ContainsAny(f.Name, `/\:`) || f.SizeBytes < 0 ||
			slices.ContainsFunc(names, func(other string) bool { return strings.EqualFold(other, f.Name) }) {
			return nil, defect("%q of %d bytes cannot be injected", f.Name, f.SizeBytes)
		}
		names = append(names, f.Name)
	}
	for _, s := range in.Plan.Steps {
		if s.File != "" && !slices.ContainsFunc(in.Files, func(f File) bool { return f.Name == s.File && strings.EqualFold(f.SHA256, s.SHA256) }) {
			return nil, defect("the step %q of the plan runs %q, which is not among the files, or has another hash there", s.Name, s.File)
		}
	}
	return encoded, nil
}

func (in Injection) bytes() int64 {
	sum := int64(0)
	for _, f := range in.Files {
		sum += f.SizeBytes
	}
	return sum
}

// refuse finds what is in the way.
func (in Injection) refuse(r *registry) error {
	traces, err := tracesOf(r)
	if err != nil {
		return err
	}
	if err := leftover(in.Partition, traces); err != nil {
		return err
	}
	free, err := r.FreeBytes()
	if err != nil {
		return err
	}
	if need := Room(in.bytes()); free < need {
		return job.Errorf(job.WindowsFull, makeRoom, "%s has %d bytes free, and the upgrade needs %d: %d times the size of the installer, and 1 GiB", r.Volume, free, need, roomFactor)
	}
	return nil
}

// leftover refuses traces of an earlier upgrade.
func leftover(p Partition, traces []string) error {
	if len(traces) == 0 {
		return nil
	}
	return job.Errorf(job.LeftoverRunner, "Delete it in a maintenance version, or take the image that the job which failed was started with",
		"%s has something of an earlier upgrade: %s", p.offline(), strings.Join(traces, ", "))
}

// copy brings the files in, and makes sure that they are the right ones.
func (in Injection) copy(ctx context.Context, h *home, report func(job.Progress)) error {
	h.size = in.bytes()
	for _, f := range in.Files {
		if err := h.copy(ctx, f, report); err != nil {
			return err
		}
	}
	return nil
}

// verify reads back what was injected. Installers are not read again: the runner
// hashes them before it starts them.
func (in Injection) verify(v *offline.Volume, system newHive, encoded []byte) error {
	if err := system.check(v); err != nil {
		return err
	}
	if err := checkFile(v, folder+`\`+plan.RunnerFile, in.Runner); err != nil {
		return err
	}
	if err := checkFile(v, folder+`\`+plan.PlanFile, encoded); err != nil {
		return err
	}
	for _, f := range in.Files {
		path := folder + `\` + plan.FilesDir + `\` + f.Name
		e, err := v.NTFS.Stat(path)
		if err != nil {
			return verifyFailed("%w", v.Fault(err))
		}
		if e.Size != f.SizeBytes {
			return verifyFailed("%s has %d bytes, want %d", path, e.Size, f.SizeBytes)
		}
	}
	return nil
}
