package fat32

// Offsets in the boot sector: the BIOS parameter block ("Boot Sector and
// BPB").
const (
	bpbOEMName           = 3
	bpbBytesPerSector    = 11 // u16
	bpbSectorsPerCluster = 13 // u8
	bpbReservedSectors   = 14 // u16
	bpbNumFATs           = 16 // u8
	bpbRootEntries16     = 17 // u16, 0
	bpbTotalSectors16    = 19 // u16, 0
	bpbMedia             = 21 // u8
	bpbFATSectors16      = 22 // u16, 0
	bpbSectorsPerTrack   = 24 // u16
	bpbHeads             = 26 // u16
	bpbHiddenSectors     = 28 // u32
	bpbTotalSectors32    = 32 // u32
	bpbFATSectors32      = 36 // u32
	bpbExtFlags          = 40 // u16: bit 7 = only the FAT in bits 0 to 3 is in use
	bpbVersion           = 42 // u16, 0
	bpbRootCluster       = 44 // u32
	bpbFSInfo            = 48 // u16, sector
	bpbBackupBootSector  = 50 // u16, sector
	bsDriveNumber        = 64 // u8
	bsState              = 65 // u8, Windows: the volume is dirty, or had I/O errors
	bsBootSignature      = 66 // u8, 0x29: the next three fields are there
	bsVolumeID           = 67 // u32
	bsVolumeLabel        = 71 // 11 bytes
	bsFileSystemType     = 82 // 8 bytes
	bsBootCode           = 90
	bsMagic              = 510 // 55 AA, at any sector size
)

// Offsets in the FSInfo sector ("FSInfo Sector Structure").
const (
	fsiLeadSignature   = 0   // u32
	fsiStructSignature = 484 // u32
	fsiFreeCount       = 488 // u32, clusters
	fsiNextFree        = 492 // u32, cluster
	fsiTrailSignature  = 508 // u32

	fsiLead   = 0x41615252
	fsiStruct = 0x61417272
	fsiTrail  = 0xAA550000
)

// Offsets in a directory entry and its attributes ("FAT Directory
// Structure").
const (
	dirName         = 0  // 11 bytes
	dirAttr         = 11 // u8
	dirCase         = 12 // u8, Windows NT: the short name is lower case
	dirCreateTenth  = 13 // u8, units of 10 ms
	dirCreateTime   = 14 // u16
	dirCreateDate   = 16 // u16
	dirAccessDate   = 18 // u16
	dirClusterHigh  = 20 // u16
	dirWriteTime    = 22 // u16
	dirWriteDate    = 24 // u16
	dirClusterLow   = 26 // u16
	dirFileSize     = 28 // u32
	dirEntrySize    = 32
	dirMaxEntrySize = 65536 * dirEntrySize // bytes of the longest directory

	attrVolumeID  = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20
	attrLongName  = 0x0F
	attrMask      = 0x3F

	entryEnd     = 0x00 // first byte: no entry from here on
	entryDeleted = 0xE5
)

// Offsets in a long name entry ("FAT Long Directory Entries"). It has 13 UTF-16
// code units, at the places lfnUnits gives; all other bytes are zero.
const (
	lfnOrdinal  = 0  // u8, from 1; the last part, which comes first, has lfnLast set
	lfnChecksum = 13 // u8, of the short name
	lfnLast     = 0x40
	lfnPerEntry = 13

	maxNameUnits = 255  // UTF-16 code units of a name
	maxPathBytes = 4096 // of a path in UTF-8: our own limit
)

var lfnUnits = [lfnPerEntry]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

const (
	minClusters = 65525      // with fewer it is a FAT16 volume ("FAT Type Determination")
	maxClusters = 0x0FFFFFF5 // numbers from 0x0FFFFFF7 on have a meaning

	firstCluster = 2
	fatMask      = 0x0FFFFFFF // the upper four bits are reserved
	fatBad       = 0x0FFFFFF7
	fatEnd       = 0x0FFFFFF8 // and above: last cluster of a chain

	// Bits of entry 1: unmounted cleanly, no I/O errors.
	fatFlagsClean = 0x0C000000

	// Bits of bsState, where Windows says the same: mounted, I/O errors.
	stateDirty = 0x03

	mediaFixed     = 0xF8
	maxClusterSize = 64 << 10
	maxFileSize    = 1<<32 - 1
)
