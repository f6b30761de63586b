package nativeboot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/engine/windows/offline"
	"imageport/job"
)

// Target is the disk that a platform's VM will have.
type Target struct {
	// Platform is one of job.Platform….
	Platform string
	// SizeBytes is that of the output disk: at least the image's, whole sectors.
	SizeBytes int64
}

// Write is a change of the copied disk.
type Write struct {
	Offset int64 // bytes
	Data   []byte
}

// Plan is what to change on a disk, and what it is good for then.
type Plan struct {
	// Firmware is what the disk starts from: UEFI with a GPT, else BIOS.
	Firmware job.Firmware
	// Controllers are those that the Windows has a driver for, best one for the
	// platform first; none if no Windows was found.
	Controllers []job.Controller
	// Product, Build and Server describe the Windows, the first one if there are
	// several; zero if none was found.
	Product string
	Build   int
	Server  bool
	// FixUps tell people what Writes do.
	FixUps []job.FixUp
	// Writes are ascending and apart, and begin and end at multiples of 4 KiB or
	// at the end of the disk. Some may lie behind the end of the image.
	Writes []Write
	// Warnings are for people, too.
	Warnings []string
}

// New plans for the disk src, which it only reads. The plan is a function of the
// disk's contents and of t. Its errors are job.Errors, about what only Windows or
// its owner can put right, or those of the disk.
func New(ctx context.Context, src disk.Disk, t Target) (*Plan, error) {
	if _, known := drivers[t.Platform]; !known {
		return nil, job.Errorf(job.UnknownPlatform, "Correct the request", "no drivers are known for the platform %q", t.Platform)
	}
	if t.SizeBytes < src.Size() || t.SizeBytes%int64(src.SectorSize()) != 0 {
		return nil, job.Errorf(job.Internal, "Report it; nothing was changed", "a disk of %d bytes is planned for an image of %d bytes with sectors of %d", t.SizeBytes, src.Size(), src.SectorSize())
	}
	base := longer{src, t.SizeBytes}
	p := &planner{ctx: ctx, Plan: &Plan{Firmware: job.BIOS}, src: src, base: base, out: overlay.New(base), target: t}
	for _, step := range []func() error{p.findPartitions, p.fixWindows, p.fixLoaders, p.collect} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return p.Plan, nil
}

// Digest is the SHA-256, in hexadecimal, of everything that determines the disk
// and what it is attached to.
func (p *Plan) Digest() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q\n", p.Firmware, p.Controllers)
	for _, f := range p.FixUps {
		fmt.Fprintf(h, "%q %q %q\n", f.What, f.Old, f.New)
	}
	for _, w := range p.Writes {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(w.Offset)))
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(w.Data))))
		h.Write(w.Data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// planner is a plan in the making.
type planner struct {
	*Plan
	ctx    context.Context
	src    disk.Disk
	base   disk.Disk        // src, and zeros up to the size of the target
	out    *overlay.Overlay // base with the changes
	target Target
	// volumes are what the partitions hold, as far as they are looked into.
	volumes []*offline.Volume
	esps    []offline.Partition
}

func (p *planner) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// fixed reports a change.
func (p *planner) fixed(what, before, after, why string) {
	p.FixUps = append(p.FixUps, job.FixUp{What: what, Old: before, New: after, Why: why})
}

// collect gathers the changes: the pages that differ from the image, those that
// touch as one. What is written behind the end of the image counts even if it is
// zero: it is not the image that says what was there.
func (p *planner) collect() error {
	old := make([]byte, overlay.PageSize)
	for page := range p.out.Pages() {
		end := page.Offset + int64(len(page.Data))
		if end <= p.src.Size() {
			old := old[:len(page.Data)]
			if n, err := p.base.ReadAt(old, page.Offset); n < len(old) {
				return fmt.Errorf("read %d bytes at %d: %w", len(old), page.Offset, err)
			}
			if bytes.Equal(old, page.Data) {
				continue
			}
		}
		if last := len(p.Writes) - 1; last >= 0 && p.Writes[last].Offset+int64(len(p.Writes[last].Data)) == page.Offset {
			p.Writes[last].Data = append(p.Writes[last].Data, page.Data...)
			continue
		}
		p.Writes = append(p.Writes, Write{page.Offset, bytes.Clone(page.Data)})
	}
	return nil
}

// part is a partition of a disk that is being changed.
type part struct {
	disk         *overlay.Overlay
	offset, size int64
}

func (w part) ReadAt(b []byte, off int64) (int, error) {
	return disk.Section(w.disk, w.offset, w.size).ReadAt(b, off)
}

func (w part) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off > w.size || int64(len(b)) > w.size-off {
		return 0, job.Errorf(job.Internal, "Report it; nothing was changed", "a change of %d bytes at byte %d is outside of the partition of %d bytes", len(b), off, w.size)
	}
	return w.disk.WriteAt(b, w.offset+off)
}

// longer is a disk with zeros behind it.
type longer struct {
	disk.Disk
	size int64
}

func (l longer) Size() int64 { return l.size }

func (l longer) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= l.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), l.size-off))
	inside := int(max(0, min(int64(n), l.Disk.Size()-off)))
	if inside > 0 {
		if m, err := l.Disk.ReadAt(b[:inside], off); m < inside {
			return m, err
		}
	}
	clear(b[inside:n])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
