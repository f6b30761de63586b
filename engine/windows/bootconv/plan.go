package bootconv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk/gpt"
	"imageport/engine/windows/bcd"
	"imageport/engine/windows/reagent"
	"imageport/job"
)

const (
	mib  = 1 << 20
	page = 4096 // granularity of the overlay
)

// Options are the choices that a plan leaves to people, and the means that it
// has. The zero value shrinks nothing.
type Options struct {
	job.UEFIOptions
	// Shrinker makes volumes smaller; nil if nothing can.
	Shrinker Shrinker
}

// ReadWriterAt is a volume that can be changed.
type ReadWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// Shrinker makes NTFS volumes smaller. Sizes are in bytes, errors job.Errors.
type Shrinker interface {
	// Try tells what Shrink would do, without doing it.
	Try(ctx context.Context, volume io.ReaderAt, size, newSize int64) (ShrinkEffect, error)
	// Shrink gives the volume, of that size, a new size, and leaves it clean.
	// The same volume and sizes give the same bytes.
	Shrink(ctx context.Context, volume ReadWriterAt, size, newSize int64, progress func(done, total int64)) error
}

// ShrinkEffect is what shrinking a volume does to it.
type ShrinkEffect struct {
	MovedBytes   int64 // data behind the new end
	WrittenBytes int64 // at most, in pages of 4 KiB
}

// Plan is everything that the conversion changes. It is made from the disk,
// options and a seed alone, and marshals to JSON for people and for comparison.
type Plan struct {
	Windows Windows `json:"windows"`
	// Before and After are the partitions in the MBR and in the GPT.
	Before    []DescribedPartition `json:"before"`
	After     []DescribedPartition `json:"after"`
	ESP       ESP                  `json:"esp"`
	Shrinks   []Shrink             `json:"shrinks"`
	BCD       []bcd.Edit           `json:"bcd"`
	Registry  []RegistryEdit       `json:"registry"`
	ReAgent   []reagent.Edit       `json:"reAgent"`
	BootFiles []BootFile           `json:"bootFiles"`
	// Writes are the ranges of the disk outside of which nothing is written.
	Writes []Write `json:"writes"`
	// EstimatedBytes is about how large the differencing disk becomes.
	EstimatedBytes int64    `json:"estimatedBytes"`
	Warnings       []string `json:"warnings"`

	signature uint32     // of the MBR
	table     gpt.Table  // that replaces it
	osID      uuid.UUID  // of C:
	boot      []bootFile // what the ESP gets besides the BCD
	store     []byte     // the converted BCD
	// recovery is the store that starts Windows RE alone; nil without Windows RE.
	recovery []byte
	edits    []fileEdit // of files on C:
	modify   time.Time  // of everything that the conversion makes
}

// ESP is the EFI system partition.
type ESP struct {
	Placement job.ESPPlacement `json:"placement"`
	ID        uuid.UUID        `json:"id"`
	FirstLBA  uint64           `json:"firstLba"`
	Sectors   uint64           `json:"sectors"`
	VolumeID  uint32           `json:"volumeId"` // FAT serial number
}

// Shrink makes the volume of a partition smaller.
type Shrink struct {
	Partition    int    `json:"partition"` // from 1
	BeforeBytes  int64  `json:"beforeBytes"`
	AfterBytes   int64  `json:"afterBytes"`
	MovedBytes   int64  `json:"movedBytes"`
	WrittenBytes int64  `json:"writtenBytes"` // at most
	Why          string `json:"why"`

	volume *volume
}

// RegistryEdit is a changed or, where After is empty, deleted value.
type RegistryEdit struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Before string `json:"before"` // hexadecimal
	After  string `json:"after,omitempty"`
}

// Write is a range of the disk that the conversion writes to, in bytes.
type Write struct {
	What   string `json:"what"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
}

// fileEdit is a file of C: that gets other contents of the same length.
type fileEdit struct {
	path string
	data []byte
}

// Digest identifies the plan: the SHA-256 of its JSON and of the bytes behind it.
func (p *Plan) Digest() string {
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(p) // a plan always marshals; a hash never fails
	h.Write(p.store)
	h.Write(p.recovery)
	for _, e := range p.edits {
		h.Write(e.data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// DiskGUID identifies the disk in the plan.
func (p *Plan) DiskGUID() uuid.UUID { return p.table.DiskGUID }

// Table is the partition table that the plan writes.
func (p *Plan) Table() gpt.Table { return p.table }

// WindowsID identifies C: in the plan.
func (p *Plan) WindowsID() uuid.UUID { return p.osID }

// warn adds a warning.
func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// planner is what making one plan needs besides the plan.
type planner struct {
	*Image
	*Plan
	ctx  context.Context
	opt  Options
	seed uuid.UUID
}

// derive gives the identifier that something has in this plan.
func (p *planner) derive(role string) uuid.UUID { return uuid.NewSHA1(p.seed, []byte(role)) }

// Plan decides what is to change. Everything random about it comes from seed.
func (im *Image) Plan(ctx context.Context, seed uuid.UUID, opt Options) (*Plan, error) {
	p := &planner{Image: im, ctx: ctx, opt: opt, seed: seed, Plan: &Plan{
		Windows:   im.Windows,
		signature: im.mbr.Signature,
		Shrinks:   []Shrink{},
		ReAgent:   []reagent.Edit{},
		Registry:  []RegistryEdit{},
		Warnings:  append([]string{}, im.warnings...),
		modify:    im.modified(),
	}}
	p.table = gpt.Table{
		DiskGUID:   p.derive("disk"),
		SectorSize: im.disk.SectorSize(),
		Sectors:    uint64(im.disk.Size()) / uint64(im.disk.SectorSize()),
	}
	for _, step := range []func() error{
		p.chooseBootFiles, p.makeRoom, p.placeESP, p.planTable,
		p.planStore, p.planRegistry, p.planReAgent, p.planBootFiles, p.planWrites, p.describe,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	p.Plan.warn("the targets' firmware must be UEFI from now on")
	return p.Plan, nil
}

// planWrites lists what is written, and estimates what it comes to.
func (p *planner) planWrites() error {
	sector := int64(p.table.SectorSize)
	add := func(what string, offset, length int64) {
		p.Writes = append(p.Writes, Write{what, offset, length})
	}
	p.EstimatedBytes = 4 * mib // headers and tables of the container
	for _, s := range p.Shrinks {
		add(fmt.Sprintf("shrink %s", s.volume), s.volume.offset(), s.BeforeBytes)
		p.EstimatedBytes += s.WrittenBytes
	}
	add("EFI system partition", int64(p.ESP.FirstLBA)*sector, int64(p.ESP.Sectors)*sector)
	for _, f := range p.BootFiles {
		p.EstimatedBytes += (f.Size + page - 1) / page * page
	}
	p.EstimatedBytes += int64(p.ESP.Sectors) * sector / 512 * 4 * 2 // the FATs: at most 4 bytes for every 512
	for _, e := range p.edits {
		changes, err := p.changes(p.windows.NTFS, e)
		if err != nil {
			return err
		}
		for _, c := range changes {
			add(e.path, p.windows.offset()+c.Offset, int64(len(c.Data)))
			p.EstimatedBytes += mib // each costs a block of the differencing disk
		}
	}
	p.Writes = append(p.Writes, p.tables(p.disk.Size())...)
	p.EstimatedBytes += 2 * mib
	return nil
}

// describe tells of the partitions before and after.
func (p *planner) describe() error {
	sector := int64(p.table.SectorSize)
	for _, v := range p.mbr.Partitions {
		d := describeMBR(v, p.table.SectorSize)
		switch {
		case v.Index == p.windows.Index:
			d.Role = RoleWindows
		case v.Index == p.system.Index:
			d.Role = RoleSystem
		}
		p.Before = append(p.Before, d)
	}
	for _, e := range p.table.Entries {
		d := describeGPT(e, sector)
		if e.ID == p.osID {
			d.Role = RoleWindows
		}
		p.Plan.After = append(p.Plan.After, d)
	}
	slices.SortFunc(p.Plan.After, func(a, b DescribedPartition) int { return a.Number - b.Number })
	return nil
}
