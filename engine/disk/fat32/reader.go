package fat32

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"sort"
	"strings"
	"time"
)

// What the reader finds instead of a sound volume.
var (
	// ErrNotFAT32 says that the boot sector is not that of a FAT32 volume.
	ErrNotFAT32 = errors.New("not a FAT32 volume")
	// ErrCorrupt says that the volume contradicts itself.
	ErrCorrupt = errors.New("corrupt FAT32 volume")
	// ErrDirty says that the volume was in use when its disk was copied, or
	// had I/O errors: Windows checks and repairs it before it uses it again.
	ErrDirty = errors.New("FAT32 volume not unmounted")
)

// FS is a FAT32 volume that is read. It is safe for concurrent use, keeps
// nothing of the volume in memory, and finds names in any case.
type FS struct {
	r    io.ReaderAt
	info Info

	numFATs     int
	activeFAT   int
	mirrored    bool  // all FATs are the active one
	fatStart    int64 // bytes
	fatSize     int64 // bytes, of one FAT
	dataStart   int64 // bytes
	rootCluster uint32
	fsInfo      int64 // bytes
	backupBoot  int64 // bytes; 0 if there is none
	state       byte  // as Windows keeps it in the boot sector
}

// Info is what the boot sector says about a volume.
type Info struct {
	SizeBytes     int64
	SectorSize    int
	ClusterSize   int // bytes
	Clusters      uint32
	HiddenSectors uint32
	VolumeID      uint32
	Label         string // without the padding
}

// Entry is a file or directory.
type Entry struct {
	Path      string // '/' between names
	ShortName string // as in EFIBOO~1.TXT
	Dir       bool
	Size      int64 // bytes; 0 for a directory
	ModTime   time.Time

	cluster uint32
	parent  uint32 // first cluster of its directory; 0 if that is the root
}

// Open reads the boot sector of the volume in the first size bytes of r. Its
// errors are ErrNotFAT32 and those of r.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	b := make([]byte, 512)
	if size < int64(len(b)) {
		return nil, fmt.Errorf("fat32: a volume of %d bytes: %w", size, ErrNotFAT32)
	}
	if err := readFull(r, b, 0); err != nil {
		return nil, fmt.Errorf("fat32: read the boot sector: %w", err)
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("fat32: boot sector: %s: %w", fmt.Sprintf(format, args...), ErrNotFAT32)
	}
	u16 := func(at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }

	sectorSize, perCluster := int(u16(bpbBytesPerSector)), int(b[bpbSectorsPerCluster])
	reserved, numFATs, fatSectors := int64(u16(bpbReservedSectors)), int(b[bpbNumFATs]), int64(u32(bpbFATSectors32))
	sectors := int64(u32(bpbTotalSectors32))
	switch {
	case b[bsMagic] != 0x55 || b[bsMagic+1] != 0xAA:
		return nil, bad("found % X at offset %d, not 55 AA", b[bsMagic:], bsMagic)
	case b[0] != 0xEB && b[0] != 0xE9:
		return nil, bad("starts with %02X, not with a jump", b[0])
	case sectorSize < 512 || sectorSize > 4096 || sectorSize&(sectorSize-1) != 0:
		return nil, bad("sectors of %d bytes", sectorSize)
	case perCluster == 0 || perCluster&(perCluster-1) != 0 || perCluster*sectorSize > maxClusterSize:
		return nil, bad("clusters of %d sectors of %d bytes", perCluster, sectorSize)
	case u16(bpbRootEntries16) != 0 || u16(bpbTotalSectors16) != 0 || u16(bpbFATSectors16) != 0:
		return nil, bad("it has the fields of FAT12 or FAT16")
	case u16(bpbVersion) != 0:
		return nil, bad("version %04X", u16(bpbVersion))
	case reserved == 0 || numFATs < 1 || numFATs > 2 || fatSectors == 0:
		return nil, bad("%d reserved sectors, %d FATs of %d sectors", reserved, numFATs, fatSectors)
	case sectors*int64(sectorSize) > size:
		return nil, bad("%d sectors of %d bytes, but the partition has %d bytes", sectors, sectorSize, size)
	}
	front := reserved + int64(numFATs)*fatSectors
	clusters := (sectors - front) / int64(perCluster)
	if clusters < minClusters || clusters > maxClusters {
		return nil, bad("%d clusters", max(clusters, 0))
	}
	if (clusters+firstCluster)*4 > fatSectors*int64(sectorSize) {
		return nil, bad("%d clusters, but FATs of %d sectors", clusters, fatSectors)
	}

	v := &FS{
		r: r,
		info: Info{
			SizeBytes:     sectors * int64(sectorSize),
			SectorSize:    sectorSize,
			ClusterSize:   perCluster * sectorSize,
			Clusters:      uint32(clusters),
			HiddenSectors: u32(bpbHiddenSectors),
		},
		numFATs:     numFATs,
		mirrored:    true,
		fatStart:    reserved * int64(sectorSize),
		fatSize:     fatSectors * int64(sectorSize),
		dataStart:   front * int64(sectorSize),
		rootCluster: u32(bpbRootCluster),
		fsInfo:      int64(u16(bpbFSInfo)) * int64(sectorSize),
		backupBoot:  int64(u16(bpbBackupBootSector)) * int64(sectorSize),
		state:       b[bsState],
	}
	if flags := u16(bpbExtFlags); flags&0x80 != 0 {
		v.mirrored = false
		if v.activeFAT = int(flags & 0x0F); v.activeFAT >= numFATs {
			return nil, bad("FAT %d is in use, but there are %d", v.activeFAT, numFATs)
		}
	}
	if !v.valid(v.rootCluster) {
		return nil, bad("root directory at cluster %d of %d", v.rootCluster, clusters)
	}
	if v.fsInfo == 0 || v.fsInfo >= v.fatStart || v.backupBoot >= v.fatStart {
		return nil, bad("FSInfo in sector %d, backup in sector %d, but only %d are reserved", u16(bpbFSInfo), u16(bpbBackupBootSector), reserved)
	}
	if b[bsBootSignature] == 0x29 {
		v.info.VolumeID = u32(bsVolumeID)
		if label := b[bsVolumeLabel:][:11]; !bytes.Equal(label, []byte("NO NAME    ")) {
			v.info.Label = oemString(label)
		}
	}
	return v, nil
}

// Info describes the volume.
func (v *FS) Info() Info { return v.info }

// Open returns the contents of a file. The error is io/fs.ErrNotExist if there
// is none, io/fs.ErrInvalid if it is a directory, ErrCorrupt if its clusters
// are not those of a file of its size, or that of the device.
func (v *FS) Open(path string) (*io.SectionReader, error) {
	e, err := v.Stat(path)
	if err != nil {
		return nil, err
	}
	if e.Dir {
		return nil, fmt.Errorf("fat32: %q is a directory: %w", path, fs.ErrInvalid)
	}
	runs, err := v.fileRuns(e)
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(&contents{v, runs}, 0, e.Size), nil
}

// Stat finds a file or directory by its long or short names. The Path of the
// Entry is as the volume spells it.
func (v *FS) Stat(path string) (Entry, error) {
	at := Entry{Dir: true, cluster: v.rootCluster}
	for rest, more := path, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		if !at.Dir {
			return Entry{}, fmt.Errorf("fat32: %q: %q is a file: %w", path, at.Path, fs.ErrNotExist)
		}
		e, err := v.lookUp(at, name)
		if err != nil {
			return Entry{}, err
		}
		at = e
	}
	return at, nil
}

// lookUp finds an entry of a directory by its long or short name, in any case.
// The error is io/fs.ErrNotExist if there is none.
func (v *FS) lookUp(dir Entry, name string) (Entry, error) {
	entries, _, err := v.readDirectory(dir)
	if err != nil {
		return Entry{}, err
	}
	for _, e := range entries {
		if strings.EqualFold(name, e.Path) || strings.EqualFold(name, e.ShortName) {
			e.Path, err = join(dir.Path, e.Path)
			return e, err
		}
	}
	return Entry{}, fmt.Errorf("fat32: no %q in directory %q: %w", name, dir.Path, fs.ErrNotExist)
}

// contents are the bytes of a file, to the end of its last cluster.
type contents struct {
	v    *FS
	runs []run
}

// run is a sequence of adjacent clusters of a file.
type run struct {
	at      int64 // in the file, bytes
	cluster uint32
	count   uint32
}

func (c *contents) ReadAt(p []byte, off int64) (n int, err error) {
	for at, length := range c.pieces(off, int64(len(p))) {
		if err := readFull(c.v.r, p[n:n+int(length)], at); err != nil {
			return n, err
		}
		n += int(length)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// pieces gives where in the volume n bytes from off on are: an offset and a
// length for each run, in order. It gives less at the end of the last cluster.
func (c *contents) pieces(off, n int64) iter.Seq2[int64, int64] {
	size := int64(c.v.info.ClusterSize)
	return func(yield func(at, length int64) bool) {
		i := sort.Search(len(c.runs), func(i int) bool { return c.runs[i].at > off }) - 1
		for ; n > 0 && i >= 0 && i < len(c.runs); i++ {
			skip := off - c.runs[i].at
			length := min(int64(c.runs[i].count)*size-skip, n)
			if length <= 0 || !yield(c.v.offset(c.runs[i].cluster)+skip, length) {
				return
			}
			off, n = off+length, n-length
		}
	}
}

// valid tells whether the volume has the cluster.
func (v *FS) valid(cluster uint32) bool {
	return cluster >= firstCluster && cluster-firstCluster < v.info.Clusters
}

// offset is where a valid cluster begins, in bytes.
func (v *FS) offset(cluster uint32) int64 {
	return v.dataStart + int64(cluster-firstCluster)*int64(v.info.ClusterSize)
}

// fileRuns returns the clusters of a file, exactly as many as its size takes.
func (v *FS) fileRuns(e Entry) ([]run, error) {
	size := int64(v.info.ClusterSize)
	want := (e.Size + size - 1) / size
	if want == 0 && e.cluster == 0 {
		return nil, nil
	}
	runs, n, err := v.chain(e.cluster, want)
	if err != nil {
		return nil, fmt.Errorf("fat32: %q: %w", e.Path, err)
	}
	if n != want {
		return nil, fmt.Errorf("fat32: %q: %d bytes, but only %d clusters of %d bytes: %w", e.Path, e.Size, n, size, ErrCorrupt)
	}
	return runs, nil
}

// chain follows the FAT from a first cluster to the end of the chain, which
// must come after at most limit clusters.
func (v *FS) chain(first uint32, limit int64) (runs []run, n int64, err error) {
	table := fatReader{v: v, fat: v.activeFAT}
	// A cycle would end at the limit, but that may be far: the cluster is
	// compared with a former one, which is replaced at powers of two (Brent).
	former, moveAt := uint32(0), int64(1)
	for cluster := first; ; n++ {
		if !v.valid(cluster) {
			return nil, 0, fmt.Errorf("cluster number %d after %d clusters from %d, the volume has %d: %w", cluster, n, first, v.info.Clusters, ErrCorrupt)
		}
		if cluster == former || n == limit {
			return nil, 0, fmt.Errorf("the chain from cluster %d does not end after %d clusters: %w", first, n, ErrCorrupt)
		}
		if n == moveAt {
			former, moveAt = cluster, moveAt*2
		}
		if last := len(runs) - 1; last >= 0 && runs[last].cluster+runs[last].count == cluster {
			runs[last].count++
		} else {
			runs = append(runs, run{n * int64(v.info.ClusterSize), cluster, 1})
		}
		next, err := table.entry(cluster)
		if err != nil {
			return nil, 0, err
		}
		if next >= fatEnd {
			return runs, n + 1, nil
		}
		cluster = next
	}
}

// fatReader reads entries of one FAT, a page at a time.
type fatReader struct {
	v    *FS
	fat  int
	page [4096]byte
	at   int64 // of the page in the FAT
	n    int   // bytes in the page
}

// entry returns the entry of a cluster, which must be valid or 0 or 1, without
// the reserved bits.
func (t *fatReader) entry(cluster uint32) (uint32, error) {
	if err := t.load(cluster); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(t.page[int64(cluster)*4-t.at:]) & fatMask, nil
}

// has tells whether the page has the entry of the cluster.
func (t *fatReader) has(cluster uint32) bool {
	off := int64(cluster) * 4
	return off >= t.at && off+4 <= t.at+int64(t.n)
}

// load reads the page that has the entry of the cluster.
func (t *fatReader) load(cluster uint32) error {
	if t.has(cluster) {
		return nil
	}
	t.at = int64(cluster) * 4 / int64(len(t.page)) * int64(len(t.page))
	t.n = int(min(int64(len(t.page)), t.v.fatSize-t.at))
	start := t.v.fatStart + int64(t.fat)*t.v.fatSize + t.at
	if err := readFull(t.v.r, t.page[:t.n], start); err != nil {
		t.n = 0
		return fmt.Errorf("fat32: read the FAT at offset %d: %w", start, err)
	}
	return nil
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil // io.ReaderAt may return io.EOF with the last byte
	}
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
