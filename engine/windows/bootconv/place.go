package bootconv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"imageport/engine/disk/fat32"
	"imageport/engine/disk/gpt"
	"imageport/engine/windows/bcd"
	"imageport/job"
)

const (
	// alignment is where a new partition may begin, in bytes.
	alignment = mib
	// espMin is the smallest EFI system partition on disks of 512-byte sectors,
	// the same as MBR2GPT's.
	espMin = 100 * mib
	// espNew is how large a new one is where there is room, and the smallest
	// on disks of 4096-byte sectors: FAT32 has at least 65525 clusters.
	espNew = 260 * mib
	// espMax is the largest System Reserved that is given away as one, unless
	// the request insists.
	espMax = 1024 * mib
)

// roomForESP is the remedy where an ESP finds no place.
var roomForESP = fmt.Sprintf("Allow all of espPlacement, or leave %d MiB of the disk unallocated by shrinking C: in a maintenance version", espNew/mib)

// smallestESP is in bytes.
func (p *planner) smallestESP() uint64 {
	if p.table.SectorSize != 512 {
		return espNew
	}
	return espMin
}

// align gives the last LBA up to lba where a partition may begin.
func (p *planner) align(lba uint64) uint64 {
	return lba - lba%(alignment/uint64(p.table.SectorSize))
}

// alignUp gives the first one from lba on.
func (p *planner) alignUp(lba uint64) uint64 {
	return p.align(lba + alignment/uint64(p.table.SectorSize) - 1)
}

// sectorsOf is the size of a volume in the plan.
func (p *planner) sectorsOf(v *volume) uint64 {
	for _, s := range p.Shrinks {
		if s.volume == v {
			return uint64(s.AfterBytes) / uint64(p.table.SectorSize)
		}
	}
	return v.Sectors
}

// placements are those that may be used.
func (p *planner) placements() []job.ESPPlacement {
	if len(p.opt.ESPPlacement) == 0 {
		return job.ESPPlacements
	}
	return p.opt.ESPPlacement
}

// onlyReuse tells that System Reserved becomes the ESP, or nothing does.
func (p *planner) onlyReuse() bool {
	return slices.Equal(p.opt.ESPPlacement, []job.ESPPlacement{job.PlaceReuse})
}

// makeRoom makes sure that both partition tables fit before and behind the
// partitions; the last partition shrinks if it has to.
func (p *planner) makeRoom() error {
	first, last := p.table.FirstUsable(), p.table.LastUsable()
	for _, v := range p.byStart() {
		switch {
		case v.FirstLBA < first:
			return job.Errorf(job.NoRoomForGPT, "Move the partition", "%s begins at sector %d; the partition table needs the sectors up to %d", v, v.FirstLBA, first-1)
		case v.end()-1 <= last:
			continue
		case v == p.system && v != p.windows && p.onlyReuse():
			continue // made anew, it ends where it has to
		}
		refusal := func(why string) error {
			return job.Errorf(job.NoRoomForGPT, "Shrink the partition by 1 MiB in a maintenance version", "%s ends at sector %d; the backup partition table needs the sectors from %d on, and %s", v, v.end()-1, last+1, why)
		}
		switch {
		case v.NTFS == nil:
			return refusal("what is no NTFS cannot be shrunk")
		case !slices.Contains(p.placements(), job.PlaceShrink):
			return refusal("espPlacement does not allow to shrink")
		case p.align(last+1) <= v.FirstLBA:
			return refusal("nothing of it would be left")
		}
		if err := p.shrink(v, p.align(last+1)-v.FirstLBA, "room for the backup partition table"); err != nil {
			return err
		}
	}
	return nil
}

// shrink plans to give a volume that many sectors, if it can be shrunk so far.
func (p *planner) shrink(v *volume, sectors uint64, why string) error {
	s := Shrink{
		Partition: v.Index + 1, BeforeBytes: v.size(), AfterBytes: int64(sectors) * int64(p.table.SectorSize),
		Why: why, volume: v,
	}
	if p.opt.Shrinker == nil {
		return job.Errorf(job.ToolMissing, "Install ntfsresize (package ntfs-3g)", "%s has to shrink (%s), and nothing here can do that", v, why)
	}
	if err := v.Settled(); err != nil {
		return volumeError(v, err)
	}
	effect, err := p.opt.Shrinker.Try(p.ctx, section(p.disk, v), s.BeforeBytes, s.AfterBytes)
	if err != nil {
		return job.At(fmt.Sprintf("shrink %s from %d to %d MiB, %s", v, s.BeforeBytes/mib, s.AfterBytes/mib, why), err)
	}
	s.MovedBytes, s.WrittenBytes = effect.MovedBytes, effect.WrittenBytes
	p.Shrinks = slices.DeleteFunc(p.Shrinks, func(old Shrink) bool {
		if old.volume == v {
			s.Why = old.Why + ", " + why
		}
		return old.volume == v
	})
	p.Shrinks = append(p.Shrinks, s)
	return nil
}

// placeESP tries the placements in turn, until the boot files have room.
func (p *planner) placeESP() error {
	p.ESP.ID = p.derive("esp")
	p.ESP.VolumeID = binary.LittleEndian.Uint32(p.ESP.ID[:4])
	var refused []string
	var last error // of a placement that was possible
	for _, placement := range p.placements() {
		offers, why := p.offers(placement)
		for _, esp := range offers {
			p.ESP.Placement, p.ESP.FirstLBA, p.ESP.Sectors = placement, esp.first, esp.sectors
			if last = p.take(esp); last == nil {
				return nil
			}
			if code := job.CodeOf(last); code != job.ShrinkBlocked && code != job.BootFilesTooBig {
				return last
			}
			why = last.Error()
		}
		refused = append(refused, fmt.Sprintf("%s: %s", placement, why))
	}
	if last != nil && (len(p.placements()) == 1 || job.CodeOf(last) == job.BootFilesTooBig) {
		return last
	}
	return job.Errorf(job.NoSpaceForESP, roomForESP, "there is no room for an EFI system partition of at least %d MiB: %s", p.smallestESP()/mib, strings.Join(refused, "; "))
}

// take settles on a place for the ESP, if the boot files fit and what is in its
// way can move.
func (p *planner) take(esp stretch) error {
	if err := p.fitsESP(); err != nil || p.ESP.Placement != job.PlaceShrink {
		return err
	}
	return p.shrink(p.windows, esp.first-p.windows.FirstLBA, "room for the EFI system partition")
}

// stretch is a part of the disk, in sectors.
type stretch struct{ first, sectors uint64 }

// offers are where a placement would put the ESP, the best first, or why it
// cannot.
func (p *planner) offers(placement job.ESPPlacement) (offers []stretch, why string) {
	sector := uint64(p.table.SectorSize)
	switch placement {
	case job.PlaceGap:
		gap := p.largestGap()
		if gap.sectors*sector < p.smallestESP() {
			return nil, fmt.Sprintf("the largest gap has %d MiB", gap.sectors*sector/mib)
		}
		return []stretch{{gap.first, min(gap.sectors, espNew/sector)}}, ""
	case job.PlaceReuse:
		size, forced := p.system.Sectors*sector, p.onlyReuse()
		switch {
		case p.system == p.windows:
			return nil, "there is no System Reserved partition"
		case p.system.hasWinRE:
			return nil, fmt.Sprintf("System Reserved (%s) holds Windows RE", p.system)
		case p.entriesNeedSystem():
			return nil, fmt.Sprintf("System Reserved (%s) holds an image that a boot entry starts", p.system)
		case size < p.smallestESP() || size > espMax && !forced:
			return nil, fmt.Sprintf("System Reserved (%s) has %d MiB, and is reused from %d to %d", p.system, size/mib, p.smallestESP()/mib, espMax/mib)
		}
		// Its end may lie behind what the backup partition table leaves.
		end := min(p.system.FirstLBA+p.sectorsOf(p.system), p.align(p.table.LastUsable()+1))
		return []stretch{{p.system.FirstLBA, end - p.system.FirstLBA}}, ""
	default:
		end := p.windows.FirstLBA + p.sectorsOf(p.windows)
		for _, size := range slices.Compact([]uint64{espNew, p.smallestESP()}) {
			if first := p.align(end - min(end, size/sector)); first > p.windows.FirstLBA {
				offers = append(offers, stretch{first, size / sector})
			}
		}
		return offers, fmt.Sprintf("C: (%s) has only %d MiB", p.windows, p.windows.Sectors*sector/mib)
	}
}

// entriesNeedSystem tells whether a file on System Reserved, such as an image of
// Windows RE by another name than usual, is started by an entry. Whatever else
// is wrong with the boot configuration shows when it is converted.
func (p *planner) entriesNeedSystem() bool {
	_, _, err := bcd.Convert(p.Image.store, p.mapping(job.PlaceReuse), bcd.ConvertOptions{Modified: p.modify})
	return errors.Is(err, bcd.ErrFileOnESP)
}

// largestGap finds the largest unallocated space, in whole MiB.
func (p *planner) largestGap() stretch {
	var largest stretch
	consider := func(first, end uint64) {
		if first, end = p.alignUp(first), p.align(end); end > first && end-first > largest.sectors {
			largest = stretch{first, end - first}
		}
	}
	free := p.table.FirstUsable()
	for _, v := range p.byStart() {
		consider(free, v.FirstLBA)
		free = v.FirstLBA + p.sectorsOf(v)
	}
	consider(free, p.table.LastUsable()+1)
	return largest
}

// fitsESP makes sure that the boot files fit into the ESP as it is placed. The
// converted boot store is not known yet; it has about the size of the old one.
func (p *planner) fitsESP() error {
	files := append(slices.Clone(p.Plan.boot), bootFile{BootFile: BootFile{Target: espStore, Size: int64(len(p.Image.store)) + 64<<10}})
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

// fatOptions says how the ESP is formatted.
func (p *Plan) fatOptions() fat32.Options {
	return fat32.Options{
		SizeBytes:     int64(p.ESP.Sectors) * int64(p.table.SectorSize),
		SectorSize:    p.table.SectorSize,
		HiddenSectors: uint32(p.ESP.FirstLBA),
		Label:         "SYSTEM",
		VolumeID:      p.ESP.VolumeID,
		ModTime:       p.modify,
	}
}

// planTable gives every partition its GPT entry. Entries keep their numbers,
// so that \Device\HarddiskVolumeN stays what it was; a new ESP comes last.
func (p *planner) planTable() error {
	esp := gpt.Entry{
		Type:       gpt.TypeESP,
		ID:         p.ESP.ID,
		FirstLBA:   p.ESP.FirstLBA,
		LastLBA:    p.ESP.FirstLBA + p.ESP.Sectors - 1,
		Attributes: gpt.AttrNoDriveLetter,
		Name:       "EFI system partition",
	}
	for _, v := range p.volumes {
		esp.Index = max(esp.Index, v.Index+1)
	}
	for _, v := range p.volumes {
		if v == p.system && p.ESP.Placement == job.PlaceReuse {
			esp.Index = v.Index
			continue
		}
		e := gpt.Entry{
			Index:    v.Index,
			ID:       p.idOf(v),
			FirstLBA: v.FirstLBA,
			LastLBA:  v.FirstLBA + p.sectorsOf(v) - 1,
			Name:     "Basic data partition",
		}
		var err error
		if e.Type, e.Attributes, err = p.typeOf(v); err != nil {
			return err
		}
		if v == p.system && v != p.windows { // of no use any more: without a letter nobody sees it
			e.Attributes |= gpt.AttrNoDriveLetter
			p.Plan.warn("System Reserved (%s) is no longer used; it is kept, without a drive letter", v)
		}
		if v == p.windows { // whatever it was called: with another type it would get no letter
			p.osID, e.Type, e.Attributes = e.ID, gpt.TypeBasicData, 0
		}
		p.table.Entries = append(p.table.Entries, e)
	}
	p.table.Entries = append(p.table.Entries, esp)
	if err := p.table.Validate(); err != nil {
		return job.Errorf(job.UnsupportedLayout, "Remove partitions that are not used, and look at uefiOptions.partitionTypes", "the partitions do not make a valid GPT: %w", err)
	}
	return nil
}
