package vhdx

import (
	"io"

	"github.com/google/uuid"
)

// metadata is the known metadata items, [MS-VHDX] 2.6.2.
type metadata struct {
	blockSize          uint32
	leaveAllocated     bool
	hasParent          bool
	virtualSize        uint64
	virtualDiskID      uuid.UUID
	logicalSectorSize  uint32
	physicalSectorSize uint32
	parent             *ParentLocator
	inherited          inheritance
}

// inheritance is the metadata items unknown to us that are the virtual disk's,
// not the file's: a child gets copies of them, [MS-VHDX] 2.6.1.2.
type inheritance struct {
	items []inheritedItem
	size  int // in bytes, also of items that are left out as too many
}

type inheritedItem struct {
	id    uuid.UUID
	flags uint32
	data  []byte
}

// maxInherited bounds the memory for inherited items, and leaves space for
// others in the metadata region of a child. An image with more of them can be
// read, but has no children by us.
const maxInherited = mib / 2

// metadataItem is where an item lies: file offset and bytes.
type metadataItem struct {
	name   string
	offset int64
	data   []byte
}

// requiredItems must be in every image; the parent locator depends on the type.
var requiredItems = []uuid.UUID{
	fileParametersGUID, virtualDiskSizeGUID, virtualDiskIDGUID, logicalSectorSizeGUID, physicalSectorSizeGUID,
}

// knownItems are the items that a reader must know, with the size of those
// that have a fixed one.
var knownItems = map[uuid.UUID]struct {
	name string
	size uint32
}{
	fileParametersGUID:     {"file parameters", 8},
	virtualDiskSizeGUID:    {"virtual disk size", 8},
	virtualDiskIDGUID:      {"virtual disk ID", 16},
	logicalSectorSizeGUID:  {"logical sector size", 4},
	physicalSectorSizeGUID: {"physical sector size", 4},
	parentLocatorGUID:      {"parent locator", 0},
}

// readMetadata reads the metadata region at off, length bytes long, which lies
// inside the file.
func readMetadata(r io.ReaderAt, off int64, length uint32) (*metadata, error) {
	items, inherited, err := readMetadataItems(r, off, length)
	if err != nil {
		return nil, err
	}
	for _, id := range requiredItems {
		if _, ok := items[id]; !ok {
			return nil, corrupt("metadata table", off, "no entry for the %s", knownItems[id].name)
		}
	}

	m := &metadata{virtualDiskID: guid(items[virtualDiskIDGUID].data), inherited: inherited}
	item := items[fileParametersGUID]
	m.blockSize = le.Uint32(item.data)
	flags := le.Uint32(item.data[4:])
	m.leaveAllocated, m.hasParent = flags&flagLeaveAllocated != 0, flags&flagHasParent != 0
	if !validBlockSize(m.blockSize) {
		return nil, corrupt(item.name, item.offset, "found block size %d, expected a power of two from 1 MiB to 256 MiB", m.blockSize)
	}
	for _, sector := range []struct {
		item metadataItem
		size *uint32
	}{
		{items[logicalSectorSizeGUID], &m.logicalSectorSize},
		{items[physicalSectorSizeGUID], &m.physicalSectorSize},
	} {
		if *sector.size = le.Uint32(sector.item.data); !validSectorSize(int(*sector.size)) {
			return nil, corrupt(sector.item.name, sector.item.offset, "found %d, expected 512 or 4096", *sector.size)
		}
	}
	item = items[virtualDiskSizeGUID]
	m.virtualSize = le.Uint64(item.data)
	if m.virtualSize > maxVirtualSize || !validVirtualSize(int64(m.virtualSize), int(m.logicalSectorSize)) {
		return nil, corrupt(item.name, item.offset, "found %d, expected a multiple of %d, up to 64 TiB", m.virtualSize, m.logicalSectorSize)
	}
	if m.hasParent {
		item, ok := items[parentLocatorGUID]
		if !ok {
			return nil, corrupt("metadata table", off, "a differencing image without a parent locator")
		}
		if m.parent, err = parseParentLocator(item.data, item.offset); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func validSectorSize(size int) bool { return size == 512 || size == 4096 }

// readMetadataItems reads the table, the known items and those that a child
// would inherit.
func readMetadataItems(r io.ReaderAt, off int64, length uint32) (items map[uuid.UUID]metadataItem, inherited inheritance, err error) {
	table := make([]byte, metadataTableSize)
	if err := readFull(r, "metadata table", off, table); err != nil {
		return nil, inherited, err
	}
	if found := table[:len(metadataSignature)]; string(found) != metadataSignature {
		return nil, inherited, corrupt("metadata table", off, "found signature %q, expected %q", found, metadataSignature)
	}
	count := int(le.Uint16(table[10:]))
	if count > maxTableEntries {
		return nil, inherited, corrupt("metadata table", off, "found %d entries, expected at most %d", count, maxTableEntries)
	}
	items = make(map[uuid.UUID]metadataItem)
	for i := range count {
		at := tableEntrySize * (1 + i)
		entry := table[at : at+tableEntrySize]
		entryOffset := off + int64(at)
		id := guid(entry)
		itemOffset, itemLength, flags := le.Uint32(entry[16:]), le.Uint32(entry[20:]), le.Uint32(entry[24:])

		known, ok := knownItems[id]
		if ok = ok && flags&itemIsUser == 0; !ok {
			if flags&itemIsRequired != 0 {
				return nil, inherited, refuse(ErrUnsupported, "metadata table entry", entryOffset, "item %s is required, but unknown", id)
			}
			if flags&itemIsVirtualDisk == 0 {
				continue
			}
			known.name = "item " + id.String()
		}
		if _, twice := items[id]; ok && twice {
			return nil, inherited, corrupt("metadata table entry", entryOffset, "a second %s", known.name)
		}
		if ok && known.size != 0 && itemLength != known.size {
			return nil, inherited, corrupt("metadata table entry", entryOffset, "found %d bytes of %s, expected %d", itemLength, known.name, known.size)
		}
		if empty := itemOffset == 0 && itemLength == 0; (ok || !empty) && (itemLength > maxMetadataItem || itemOffset < metadataTableSize ||
			itemOffset > length || itemLength > length-itemOffset) {
			return nil, inherited, corrupt("metadata table entry", entryOffset,
				"%s of %d bytes at %#x in a metadata region of %#x bytes", known.name, itemLength, itemOffset, length)
		}
		if !ok {
			if inherited.size += int(itemLength); inherited.size > maxInherited {
				continue
			}
		}
		item := metadataItem{known.name, off + int64(itemOffset), make([]byte, itemLength)}
		if err := readFull(r, item.name, item.offset, item.data); err != nil {
			return nil, inherited, err
		}
		if ok {
			items[id] = item
		} else {
			inherited.items = append(inherited.items, inheritedItem{id, flags, item.data})
		}
	}
	return items, inherited, nil
}
