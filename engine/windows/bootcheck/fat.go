package bootcheck

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math/bits"
)

// Limits of an EFI system partition. Windows makes one of 100 to 260 MiB with
// some 130 files on it.
const (
	mostClusters = 1 << 22
	mostEntries  = 1 << 14
	mostDepth    = 32
	mostPath     = 1024 // bytes
)

// What the entries of a FAT mean ("FAT Data Structure").
const (
	fatMask    = 0x0fffffff
	fatBad     = 0x0ffffff7
	fatEnd     = 0x0ffffff8 // and above
	cleanFlags = 0x0c000000 // in entry 1: dismounted in order, without errors
)

// volume is a FAT32 volume all of whose clusters are accounted for.
type volume struct {
	r            io.ReaderAt
	size         int64 // of the partition, in bytes
	sector       int   // bytes
	clusterBytes int64
	clusters     uint32 // numbered from 2
	dataAt       int64  // of cluster 2, in bytes
	fatAt        int64
	fatBytes     int64 // of one FAT
	fats         int
	root         uint32
	infoAt       int64

	fat     []uint32
	used    []uint64 // a bit for each cluster that belongs to a file or directory
	entries []entry
	index   map[string]int // by folded path
}

// entry is a file or directory.
type entry struct {
	path    string // '/'-separated, none in front
	dir     bool
	size    int64 // bytes, of files
	cluster uint32
}

// readVolume reads the volume in a partition and checks that it is in order, as
// fsck.fat would.
func readVolume(ctx context.Context, r io.ReaderAt, size int64, sectorSize int) (*volume, error) {
	v := &volume{r: r, size: size, sector: sectorSize, index: map[string]int{}}
	if err := v.readBoot(); err != nil {
		return nil, err
	}
	if err := v.readFATs(ctx); err != nil {
		return nil, err
	}
	v.used = make([]uint64, (v.clusters+2+63)/64)
	if err := v.walk(ctx); err != nil {
		return nil, err
	}
	free, err := v.countFree()
	if err != nil {
		return nil, err
	}
	return v, v.checkInfo(free)
}

// readBoot reads the boot sector and its copy ("BPB").
func (v *volume) readBoot() error {
	b, backup := make([]byte, 512), make([]byte, 512)
	if err := readAt(v.r, b, 0, "boot sector of the EFI system partition"); err != nil {
		return err
	}
	le := binary.LittleEndian
	if b[510] != 0x55 || b[511] != 0xaa || b[0] != 0xeb && b[0] != 0xe9 {
		return wrong("EFI system partition: boot sector begins with % x and ends with % x, expected a jump and 55 aa: it is not formatted", b[:3], b[510:])
	}
	if got := int(le.Uint16(b[11:])); got != v.sector {
		return wrong("EFI system partition: boot sector says sectors of %d bytes, expected the disk's %d", got, v.sector)
	}
	sector := int64(v.sector)
	perCluster, reserved, fats := int64(b[13]), int64(le.Uint16(b[14:])), int(b[16])
	sectors, perFAT := int64(le.Uint32(b[32:])), int64(le.Uint32(b[36:]))
	if le.Uint16(b[17:]) != 0 || le.Uint16(b[19:]) != 0 || le.Uint16(b[22:]) != 0 || perFAT == 0 {
		return wrong("EFI system partition: boot sector has the fields of FAT12 or FAT16, expected FAT32")
	}
	if bits.OnesCount8(b[13]) != 1 || perCluster*sector > 64<<10 || reserved == 0 || fats < 1 || fats > 2 {
		return wrong("EFI system partition: boot sector has %d sectors a cluster, %d reserved ones and %d FATs", perCluster, reserved, fats)
	}
	if sectors == 0 || sectors > v.size/sector {
		return wrong("EFI system partition: boot sector says %d sectors, expected 1 to %d, the partition's", sectors, v.size/sector)
	}
	data := reserved + int64(fats)*perFAT
	if data >= sectors {
		return wrong("EFI system partition: FATs end at sector %d, expected before %d, the end", data, sectors)
	}
	clusters := (sectors - data) / perCluster
	if clusters < 65525 || clusters > mostClusters {
		return wrong("EFI system partition: %d clusters of %d bytes, expected 65525 to %d as FAT32 has", clusters, perCluster*sector, mostClusters)
	}
	if perFAT*sector < (clusters+2)*4 {
		return wrong("EFI system partition: a FAT of %d sectors, expected at least %d for %d clusters", perFAT, ((clusters+2)*4+sector-1)/sector, clusters)
	}
	if flags, version := le.Uint16(b[40:]), le.Uint16(b[42:]); flags&0x80 != 0 || version != 0 {
		return wrong("EFI system partition: boot sector has flags 0x%x and version 0x%x, expected all FATs in use and version 0", flags, version)
	}
	v.clusterBytes, v.clusters, v.fats = perCluster*sector, uint32(clusters), fats
	v.fatAt, v.fatBytes, v.dataAt = reserved*sector, perFAT*sector, data*sector
	v.root = le.Uint32(b[44:])
	info, copyAt := int64(le.Uint16(b[48:])), int64(le.Uint16(b[50:]))
	if info == 0 || info >= reserved || copyAt == 0 || copyAt >= reserved || info == copyAt {
		return wrong("EFI system partition: FSInfo in sector %d and the copy of the boot sector in %d, expected two from 1 to %d", info, copyAt, reserved-1)
	}
	v.infoAt = info * sector
	if err := readAt(v.r, backup, copyAt*sector, "copy of the boot sector of the EFI system partition"); err != nil {
		return err
	}
	if !bytes.Equal(b, backup) {
		return wrong("EFI system partition: the copy of the boot sector in sector %d differs from the boot sector", copyAt)
	}
	return nil
}

// readFATs reads the first FAT, and compares the second one with it.
func (v *volume) readFATs(ctx context.Context) error {
	what := "first FAT of the EFI system partition"
	entries := int(v.clusters) + 2
	err := pieces(ctx, io.NewSectionReader(v.r, v.fatAt, v.fatBytes), int64(entries)*4, what, func(p []byte, off int64) error {
		for ; len(p) >= 4; p = p[4:] {
			v.fat = append(v.fat, binary.LittleEndian.Uint32(p))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if v.fats == 2 {
		second := make([]byte, 1<<20)
		err := pieces(ctx, io.NewSectionReader(v.r, v.fatAt, v.fatBytes), v.fatBytes, what, func(p []byte, off int64) error {
			second = second[:len(p)]
			if err := readAt(v.r, second, v.fatAt+v.fatBytes+off, "second FAT of the EFI system partition"); err != nil {
				return err
			}
			for i := range p {
				if p[i] != second[i] {
					return wrong("EFI system partition: the FATs differ at entry %d: byte %d is 0x%02x in the first and 0x%02x in the second", (off+int64(i))/4, off+int64(i), p[i], second[i])
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	media := make([]byte, 1)
	if err := readAt(v.r, media, 21, "boot sector of the EFI system partition"); err != nil {
		return err
	}
	if got, want := v.fat[0]&fatMask, 0x0fffff00|uint32(media[0]); got != want {
		return wrong("EFI system partition: entry 0 of the FAT is 0x%08x, expected 0x%08x", got, want)
	}
	if v.fat[1]&fatMask < fatEnd&^cleanFlags || v.fat[1]&cleanFlags != cleanFlags {
		return wrong("EFI system partition: entry 1 of the FAT is 0x%08x, expected 0x0fffffff: it was not dismounted in order", v.fat[1])
	}
	return nil
}

// chain marks the clusters from first on as used and gives them, most at most.
func (v *volume) chain(first uint32, most int64, what string) ([]uint32, error) {
	var chain []uint32
	for c := first; ; {
		if c < 2 || c >= v.clusters+2 {
			return nil, wrong("EFI system partition: %s: cluster %d after %d clusters, expected 2 to %d", what, c, len(chain), v.clusters+1)
		}
		if v.used[c/64]>>(c%64)&1 != 0 {
			return nil, wrong("EFI system partition: %s: cluster %d is used twice", what, c)
		}
		v.used[c/64] |= 1 << (c % 64)
		if chain = append(chain, c); int64(len(chain)) > most {
			return nil, wrong("EFI system partition: %s: more than the %d clusters that it can have", what, most)
		}
		next := v.fat[c] & fatMask
		if next >= fatEnd {
			return chain, nil
		}
		c = next
	}
}

func (v *volume) clusterAt(c uint32) int64 { return v.dataAt + int64(c-2)*v.clusterBytes }

// countFree counts the free clusters, and looks for those of nobody.
func (v *volume) countFree() (uint32, error) {
	free := uint32(0)
	for c := uint32(2); c < v.clusters+2; c++ {
		switch next := v.fat[c] & fatMask; {
		case v.used[c/64]>>(c%64)&1 != 0 || next == fatBad:
		case next == 0:
			free++
		default:
			return 0, wrong("EFI system partition: cluster %d is lost: its FAT entry is 0x%08x, but no file has it", c, next)
		}
	}
	return free, nil
}

// checkInfo compares FSInfo with what has been counted ("FSInfo Sector").
func (v *volume) checkInfo(free uint32) error {
	b := make([]byte, 512)
	if err := readAt(v.r, b, v.infoAt, "FSInfo of the EFI system partition"); err != nil {
		return err
	}
	le := binary.LittleEndian
	for at, want := range map[int]uint32{0: 0x41615252, 484: 0x61417272, 508: 0xaa550000} {
		if got := le.Uint32(b[at:]); got != want {
			return wrong("EFI system partition: FSInfo has 0x%08x at byte %d, expected 0x%08x", got, at, want)
		}
	}
	const unknown = 0xffffffff
	if got := le.Uint32(b[488:]); got != free && got != unknown {
		return wrong("EFI system partition: FSInfo says %d free clusters, expected %d", got, free)
	}
	if got := le.Uint32(b[492:]); got != unknown && (got < 2 || got >= v.clusters+2) {
		return wrong("EFI system partition: FSInfo says that free clusters begin at %d, expected 2 to %d", got, v.clusters+1)
	}
	return nil
}

// contents reads a file.
func (v *volume) contents(e entry) io.ReaderAt {
	f := &fatFile{v: v, size: e.size}
	// The chain has been walked: it is as long as the file, and ends.
	for c, at := e.cluster, int64(0); at < e.size; c, at = v.fat[c]&fatMask, at+v.clusterBytes {
		f.clusters = append(f.clusters, c)
	}
	return f
}

// fatFile is a file's data.
type fatFile struct {
	v        *volume
	size     int64
	clusters []uint32
}

func (f *fatFile) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) && off < f.size {
		first := off / f.v.clusterBytes
		last := first // of those that are side by side
		need := (off + int64(len(p)-done) - 1) / f.v.clusterBytes
		for last < need && last+1 < int64(len(f.clusters)) && f.clusters[last+1] == f.clusters[last]+1 {
			last++
		}
		end := min((last+1)*f.v.clusterBytes, f.size, off+int64(len(p)-done))
		n, err := f.v.r.ReadAt(p[done:done+int(end-off)], f.v.clusterAt(f.clusters[first])+off%f.v.clusterBytes)
		done, off = done+n, off+int64(n)
		if off < end {
			return done, err
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}
