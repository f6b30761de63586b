package vhdx

import (
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"
)

// region is an entry of the region table, [MS-VHDX] 2.2.3.2.
type region struct {
	id       uuid.UUID
	offset   uint64
	length   uint32
	required bool
}

// readRegions gives the region table. One valid copy is enough; two must agree,
// because all changes to them go through the log, which is empty or replayed.
func readRegions(r io.ReaderAt) ([]region, error) {
	var tables [2][]region
	var invalid [2]error
	for i, off := range []int64{regionTable1Offset, regionTable2Offset} {
		p := make([]byte, regionTableSize)
		structure := fmt.Sprintf("region table %d", i+1)
		if err := readFull(r, structure, off, p); err != nil {
			return nil, err
		}
		if invalid[i] = verifyChecksum(p, regionSignature); invalid[i] != nil {
			continue
		}
		count := le.Uint32(p[8:])
		if count > maxTableEntries {
			return nil, corrupt(structure, off, "found %d entries, expected at most %d", count, maxTableEntries)
		}
		for e := range int(count) {
			q := p[16+tableEntrySize*e:]
			tables[i] = append(tables[i], region{
				id:       guid(q),
				offset:   le.Uint64(q[16:]),
				length:   le.Uint32(q[24:]),
				required: le.Uint32(q[28:])&1 != 0,
			})
		}
	}
	switch {
	case invalid[0] != nil && invalid[1] != nil:
		return nil, corrupt("region tables 1 and 2", regionTable1Offset, "both invalid: %v; %v", invalid[0], invalid[1])
	case invalid[0] != nil:
		return tables[1], nil
	case invalid[1] == nil && !slices.Equal(tables[0], tables[1]):
		return nil, corrupt("region tables 1 and 2", regionTable1Offset, "both valid, but different")
	}
	return tables[0], nil
}

// locateRegions claims the space of all regions and gives the two known ones.
func locateRegions(r io.ReaderAt, space *structures) (bat, metadata region, err error) {
	regions, err := readRegions(r)
	if err != nil {
		return region{}, region{}, err
	}
	for i, entry := range regions {
		at := int64(regionTable1Offset + 16 + tableEntrySize*i)
		known := entry.id == batRegionGUID || entry.id == metadataRegionGUID
		if !known && entry.required {
			return region{}, region{}, refuse(ErrUnsupported, "region table entry", at, "region %s is required, but unknown", entry.id)
		}
		if entry.length%mib != 0 {
			return region{}, region{}, corrupt("region table entry", at, "found length %#x, expected a multiple of 1 MiB", entry.length)
		}
		if err := space.claim("region table entry", at, "region "+entry.id.String(), entry.offset, uint64(entry.length)); err != nil {
			return region{}, region{}, err
		}
		target := &bat
		switch entry.id {
		case batRegionGUID:
		case metadataRegionGUID:
			target = &metadata
		default:
			continue
		}
		if target.length != 0 {
			return region{}, region{}, corrupt("region table entry", at, "a second region %s", entry.id)
		}
		*target = entry
	}
	if bat.length == 0 || metadata.length == 0 {
		return region{}, region{}, corrupt("region table", regionTable1Offset, "found %d regions, but not both BAT and metadata", len(regions))
	}
	return bat, metadata, nil
}
