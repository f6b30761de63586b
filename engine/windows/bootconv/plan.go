package bootconv

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk/fat32"
	"imageport/engine/disk/gpt"
	"imageport/engine/windows/bcd"
	"imageport/engine/windows/hive"
	"imageport/job"
)

const (
	mib = 1 << 20
	// espAlign is where a new partition may begin, in bytes.
	espAlign = mib
	// espMin is the smallest EFI system partition that is made or reused: the
	// same as MBR2GPT's on disks of 512-byte sectors.
	espMin = 100 * mib
	// espNew is how large a new one is where the gap allows.
	espNew = 260 * mib
	// espMax is the largest System Reserved that is given away as one.
	espMax = 1024 * mib
)

// Placement is where the EFI system partition goes.
type Placement string

// The placements, in the order in which they are tried.
const (
	PlaceGap   Placement = "gap"   // into unallocated space
	PlaceReuse Placement = "reuse" // in place of System Reserved
)

// Plan is everything that the conversion changes. It is made from the disk and
// a seed alone, and marshals to JSON for people and for comparison.
type Plan struct {
	Windows   Windows         `json:"windows"`
	Signature uint32          `json:"mbrSignature"`
	Before    []gpt.Partition `json:"before"`
	After     gpt.Table       `json:"after"`
	ESP       ESP             `json:"esp"`
	BCD       []bcd.Edit      `json:"bcd"`
	Registry  []RegistryEdit  `json:"registry"`
	BootFiles []BootFile      `json:"bootFiles"`
	Warnings  []string        `json:"warnings"`

	osID   uuid.UUID // of C:
	store  []byte    // the converted BCD
	system []byte    // the edited SYSTEM hive, as long as before
	edits  []pageEdit
	modify time.Time // of everything that the conversion makes
}

// ESP is the EFI system partition.
type ESP struct {
	Placement Placement `json:"placement"`
	ID        uuid.UUID `json:"id"`
	FirstLBA  uint64    `json:"firstLba"`
	Sectors   uint64    `json:"sectors"`
	VolumeID  uint32    `json:"volumeId"` // FAT serial number
}

// RegistryEdit is a changed or, where After is empty, deleted value.
type RegistryEdit struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Before string `json:"before"` // hexadecimal
	After  string `json:"after,omitempty"`
}

// Digest identifies the plan: the SHA-256 of its JSON and of the bytes behind it.
func (p *Plan) Digest() string {
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(p) // a plan always marshals; a hash never fails
	h.Write(p.store)
	h.Write(p.system)
	return hex.EncodeToString(h.Sum(nil))
}

// DiskGUID identifies the disk in the plan.
func (p *Plan) DiskGUID() uuid.UUID { return p.After.DiskGUID }

// Plan decides what is to change. Everything random about it comes from seed.
func (im *Image) Plan(seed uuid.UUID) (*Plan, error) {
	p := &Plan{
		Windows:   im.Windows,
		Signature: im.mbr.Signature,
		Before:    im.mbr.Partitions,
		BootFiles: []BootFile{},
		modify:    im.systemFile.ModTime().UTC().Truncate(2 * time.Second), // FAT's resolution
	}
	derive := func(role string) uuid.UUID { return uuid.NewSHA1(seed, []byte(role)) }
	p.After = gpt.Table{
		DiskGUID:   derive("disk"),
		SectorSize: im.disk.SectorSize(),
		Sectors:    uint64(im.disk.Size()) / uint64(im.disk.SectorSize()),
	}
	if err := im.placeESP(p, derive); err != nil {
		return nil, err
	}
	im.planTable(p, derive)
	if err := im.checkRoom(p); err != nil {
		return nil, err
	}
	if err := im.planStore(p); err != nil {
		return nil, err
	}
	if err := im.planRegistry(p); err != nil {
		return nil, err
	}
	im.planBootFiles(p)
	p.Warnings = append(p.Warnings,
		"the targets' firmware must be UEFI from now on",
		"ReAgent.xml was left as it is: run reagentc /enable in a maintenance version to use Windows RE")
	return p, nil
}

// placeESP chooses the largest gap, or else the System Reserved partition:
// whichever is large enough for the boot files.
func (im *Image) placeESP(p *Plan, derive func(string) uuid.UUID) error {
	p.ESP.ID = derive("esp")
	p.ESP.VolumeID = binary.LittleEndian.Uint32(p.ESP.ID[:4])
	sector := uint64(im.disk.SectorSize())
	gap := im.largestGap(p)
	system := im.system.Sectors * sector
	gapOffer := ESP{Placement: PlaceGap, FirstLBA: gap.first, Sectors: min(gap.sectors, espNew/sector)}
	reuseOffer := ESP{Placement: PlaceReuse, FirstLBA: im.system.FirstLBA, Sectors: im.system.Sectors}
	var tooSmall error // the boot files do not fit
	for _, offer := range []struct {
		esp      ESP
		possible bool
	}{
		{gapOffer, gap.sectors*sector >= espMin},
		{reuseOffer, !im.system.hasWinRE && system >= espMin && system <= espMax},
	} {
		if !offer.possible {
			continue
		}
		p.ESP.Placement, p.ESP.FirstLBA, p.ESP.Sectors = offer.esp.Placement, offer.esp.FirstLBA, offer.esp.Sectors
		if tooSmall = im.fitsESP(p); tooSmall == nil {
			return nil
		}
	}
	if tooSmall != nil {
		return tooSmall
	}
	why := fmt.Sprintf("has %d MiB", system/mib)
	if im.system.hasWinRE {
		why = "holds Windows RE"
	}
	return job.Errorf(job.NoSpaceForESP, roomForESP,
		"there is no room for an EFI system partition: the largest gap has %d MiB, at least %d are needed; System Reserved (%s) %s, and can be reused from %d to %d MiB and without Windows RE on it",
		gap.sectors*sector/mib, espMin/mib, im.system, why, espMin/mib, espMax/mib)
}

// roomForESP is the remedy where an ESP finds no place.
var roomForESP = fmt.Sprintf("Leave %d MiB of the disk unallocated, for example by shrinking C: in a maintenance version", espNew/mib)

// gap is unallocated space.
type gap struct{ first, sectors uint64 }

// largestGap finds the largest unallocated space, in whole MiB.
func (im *Image) largestGap(p *Plan) gap {
	align := uint64(espAlign / im.disk.SectorSize())
	up := func(lba uint64) uint64 { return (lba + align - 1) / align * align }
	var largest gap
	consider := func(first, end uint64) {
		if first, end = up(first), end/align*align; end > first && end-first > largest.sectors {
			largest = gap{first, end - first}
		}
	}
	free := p.After.FirstUsable()
	for _, v := range im.byStart() {
		consider(free, v.FirstLBA)
		free = v.FirstLBA + v.Sectors
	}
	consider(free, p.After.LastUsable()+1)
	return largest
}

// fitsESP makes sure that the boot files fit into the ESP as it is placed. The
// converted boot store is not known yet; it has about the size of the old one.
func (im *Image) fitsESP(p *Plan) error {
	files := append(slices.Clone(im.boot), bootFile{BootFile: BootFile{Target: espStore, Size: int64(len(im.store)) + 64<<10}})
	opt := p.fatOptions()
	needed, err := fat32.Needed(opt, fatFiles(files))
	if err == nil && needed <= opt.SizeBytes {
		return nil
	}
	if err != nil && !errors.Is(err, fat32.ErrNoSpace) && !errors.Is(err, fat32.ErrFileSize) {
		return job.Errorf(job.UnsupportedLayout, "Look at the files below \\Windows\\Boot in a maintenance version", "the boot files cannot be put on an EFI system partition: %w", err)
	}
	total := int64(0)
	for _, f := range files {
		total += f.Size
	}
	return job.Errorf(job.BootFilesTooBig, "Leave more of the disk unallocated, or remove what does not belong below \\Windows\\Boot", "the boot files, %d MiB, do not fit into an EFI system partition of %d MiB", total/mib, opt.SizeBytes/mib)
}

// planTable gives every partition its GPT entry. Entries keep their numbers,
// so that \Device\HarddiskVolumeN stays what it was; a new ESP comes last.
func (im *Image) planTable(p *Plan, derive func(string) uuid.UUID) {
	esp := gpt.Entry{
		Index:      len(im.volumes),
		Type:       gpt.TypeESP,
		ID:         p.ESP.ID,
		FirstLBA:   p.ESP.FirstLBA,
		LastLBA:    p.ESP.FirstLBA + p.ESP.Sectors - 1,
		Attributes: gpt.AttrNoDriveLetter,
		Name:       "EFI system partition",
	}
	for _, v := range im.volumes {
		esp.Index = max(esp.Index, v.Index+1)
	}
	for _, v := range im.volumes {
		if v == im.system && p.ESP.Placement == PlaceReuse {
			esp.Index = v.Index
			continue
		}
		e := gpt.Entry{
			Index:    v.Index,
			Type:     gpt.TypeBasicData,
			ID:       derive(fmt.Sprintf("partition at LBA %d", v.FirstLBA)),
			FirstLBA: v.FirstLBA,
			LastLBA:  v.FirstLBA + v.Sectors - 1,
			Name:     "Basic data partition",
		}
		switch {
		case v.Type == typeRecovery:
			e.Type, e.Attributes = gpt.TypeRecovery, gpt.AttrRequired|gpt.AttrNoDriveLetter
		case v == im.system: // of no use any more: without a letter nobody sees it
			e.Attributes = gpt.AttrNoDriveLetter
			p.Warnings = append(p.Warnings, fmt.Sprintf("System Reserved (%s) is no longer used; it is kept, without a drive letter", v))
		case v == im.windows:
			p.osID = e.ID
		}
		p.After.Entries = append(p.After.Entries, e)
	}
	p.After.Entries = append(p.After.Entries, esp)
}

// checkRoom makes sure that both partition tables fit before and behind the
// partitions.
func (im *Image) checkRoom(p *Plan) error {
	for _, v := range im.volumes {
		if first := p.After.FirstUsable(); v.FirstLBA < first {
			return job.Errorf(job.NoRoomForGPT, "Move the partition", "%s begins at sector %d; the partition table needs the sectors up to %d", v, v.FirstLBA, first-1)
		}
		if end, last := v.FirstLBA+v.Sectors-1, p.After.LastUsable(); end > last {
			return job.Errorf(job.NoRoomForGPT, "Shrink the partition by 1 MiB in a maintenance version", "%s ends at sector %d; the backup partition table needs the sectors from %d on", v, end, last+1)
		}
	}
	return nil
}

// planStore converts the boot configuration.
func (im *Image) planStore(p *Plan) error {
	partitions := make(map[uint64]uuid.UUID)
	for _, v := range im.volumes {
		for _, e := range p.After.Entries {
			if e.FirstLBA == v.FirstLBA {
				partitions[uint64(v.offset(im.disk.SectorSize()))] = e.ID
			}
		}
	}
	out, report, err := bcd.Convert(im.store, bcd.Mapping{
		Signature:        im.mbr.Signature,
		DiskGUID:         p.After.DiskGUID,
		Partitions:       partitions,
		ESP:              p.ESP.ID,
		OS:               p.osID,
		SystemOffset:     uint64(im.system.offset(im.disk.SectorSize())),
		SystemBecomesESP: p.ESP.Placement == PlaceReuse,
	}, bcd.ConvertOptions{Modified: p.modify})
	if err != nil {
		return storeError(im.system, err)
	}
	p.store, p.BCD = out, report.Edits
	for _, w := range report.Warnings {
		p.Warnings = append(p.Warnings, w.Message)
	}
	return nil
}

// planRegistry rewrites the MountedDevices of this disk: drive letters and
// volume names follow their partitions. Values of other disks stay.
func (im *Image) planRegistry(p *Plan) error {
	const keyName = "MountedDevices"
	h, err := hive.Parse(im.systemHive)
	if err != nil {
		return hiveError(pathSystem, err)
	}
	key, err := h.Lookup(keyName)
	if err != nil {
		return hiveError(pathSystem, err)
	}
	var set []hive.Value
	for _, v := range key.Values {
		if len(v.Data) != 12 || binary.LittleEndian.Uint32(v.Data) != im.mbr.Signature {
			continue
		}
		edit := RegistryEdit{Key: keyName, Value: v.Name, Before: hex.EncodeToString(v.Data)}
		id, known := p.entryAt(binary.LittleEndian.Uint64(v.Data[4:]))
		if !known || id == p.ESP.ID {
			// The partition is gone, or is the ESP now, which has no letter.
			// Deleted before anything is set: it frees cells.
			if err := h.DeleteValue([]string{keyName}, v.Name); err != nil {
				return hiveError(pathSystem, err)
			}
		} else {
			v.Data = append([]byte("DMIO:ID:"), onDisk(id)...)
			edit.After = hex.EncodeToString(v.Data)
			set = append(set, v)
		}
		p.Registry = append(p.Registry, edit)
	}
	for _, v := range set {
		if err := h.SetValue([]string{keyName}, v); err != nil {
			return job.Errorf(job.HiveNoSpace, "Boot it once in a maintenance version and shut it down", "%s: %s value %q: %w", pathSystem, keyName, v.Name, err)
		}
	}
	if len(p.Registry) > 0 {
		h.Commit(p.modify)
	}
	p.system = h.Bytes()
	return im.planPages(p)
}

// entryAt finds the partition of the plan that begins at a byte offset.
func (p *Plan) entryAt(offset uint64) (uuid.UUID, bool) {
	for _, e := range p.After.Entries {
		if e.FirstLBA*uint64(p.After.SectorSize) == offset {
			return e.ID, true
		}
	}
	return uuid.UUID{}, false
}

// onDisk gives a GUID's mixed-endian bytes.
func onDisk(id uuid.UUID) []byte {
	b := slices.Clone(id[:])
	b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
	b[4], b[5] = b[5], b[4]
	b[6], b[7] = b[7], b[6]
	return b
}

// pageEdit is a stretch of the disk that an in-place edit of a file replaces.
type pageEdit struct {
	offset int64 // on the disk, in bytes
	data   []byte
}

// planPages finds where on the disk the changed pages of SYSTEM lie.
func (im *Image) planPages(p *Plan) error {
	const page = 4096
	before := im.systemHive
	uneditable := func(format string, args ...any) error {
		return job.Errorf(job.FileNotEditableInPlace, "Check that it is not compressed (compact /u), and boot it once in a maintenance version", "%s cannot be edited in place: %w", pathSystem, fmt.Errorf(format, args...))
	}
	extents, err := im.systemFile.Extents()
	if err != nil {
		return uneditable("%w", err)
	}
	base := im.windows.offset(im.disk.SectorSize())
	edited := 0
	for _, e := range extents {
		for off := e.FileOffset; off < e.FileOffset+e.Length && off < int64(len(before)); {
			end := min((off/page+1)*page, e.FileOffset+e.Length, int64(len(before)))
			if !bytes.Equal(before[off:end], p.system[off:end]) {
				p.edits = append(p.edits, pageEdit{base + e.VolumeOffset + off - e.FileOffset, p.system[off:end]})
				edited += differing(before[off:end], p.system[off:end])
			}
			off = end
		}
	}
	if all := differing(before, p.system); edited != all {
		return uneditable("%d of %d changed bytes lie where the file has no clusters of its own", all-edited, all)
	}
	return nil
}

// differing counts the bytes in which two slices of one length differ.
func differing(a, b []byte) int {
	n := 0
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// planBootFiles lists what the ESP gets.
func (im *Image) planBootFiles(p *Plan) {
	for _, f := range im.espFiles(p) {
		p.BootFiles = append(p.BootFiles, f.BootFile)
	}
}

// fatOptions says how the ESP is formatted.
func (p *Plan) fatOptions() fat32.Options {
	return fat32.Options{
		SizeBytes:     int64(p.ESP.Sectors) * int64(p.After.SectorSize),
		SectorSize:    p.After.SectorSize,
		HiddenSectors: uint32(p.ESP.FirstLBA),
		Label:         "SYSTEM",
		VolumeID:      p.ESP.VolumeID,
		ModTime:       p.modify,
	}
}

// ChangedBytes is what the plan changes on the disk, apart from the few pages
// of partition tables: the files of the ESP with their clusters, the FATs (at
// most 4 bytes for every 512) and the pages of SYSTEM.
func (p *Plan) ChangedBytes() int64 {
	const page = 4096
	total := int64(p.ESP.Sectors) * int64(p.After.SectorSize) / 512 * 4 * 2
	for _, f := range p.BootFiles {
		total += (f.Size + page - 1) / page * page
	}
	return total + int64(len(p.edits))*page
}
