package fat32

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// Check verifies the whole volume but the contents of its files: that every
// cluster in use belongs to one file or directory, which has as many as its
// size takes; that "." and ".." are right; that the FATs are equal, as are the
// boot sector and its backup; that FSInfo counts the free clusters. It returns
// ErrDirty, ErrCorrupt with the first contradiction, or an error of the device.
func (v *FS) Check() error {
	if err := v.checkUnmounted(); err != nil {
		return err
	}
	free, err := v.checkClusters()
	if err != nil {
		return err
	}
	if err := v.checkFSInfo(free); err != nil {
		return err
	}
	return v.checkCopies()
}

// checkClusters verifies who owns which cluster, and returns how many are free.
func (v *FS) checkClusters() (free uint32, err error) {
	owned := make([]uint64, (int64(v.info.Clusters)+63)/64) // a bit per cluster
	err = v.walk(func(e Entry, runs []run) error {
		if e.Dir {
			if err := v.checkDots(e); err != nil {
				return err
			}
		} else {
			var err error
			if runs, err = v.fileRuns(e); err != nil {
				return err
			}
		}
		for _, r := range runs {
			for i := range r.count {
				n := r.cluster + i - firstCluster
				if owned[n/64]>>(n%64)&1 != 0 {
					return fmt.Errorf("fat32: %q: cluster %d belongs to another file too: %w", e.Path, n+firstCluster, ErrCorrupt)
				}
				owned[n/64] |= 1 << (n % 64)
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return v.checkFAT(owned)
}

// checkDots verifies the first two entries of a directory but the root, which
// has none. The parent of a directory in the root is cluster 0 in "..".
func (v *FS) checkDots(dir Entry) error {
	if dir.cluster == v.rootCluster {
		return nil
	}
	b := make([]byte, 2*dirEntrySize)
	if err := readFull(v.r, b, v.offset(dir.cluster)); err != nil {
		return fmt.Errorf("fat32: read directory %q: %w", dir.Path, err)
	}
	for i, want := range []struct {
		name    string
		cluster uint32
	}{{".          ", dir.cluster}, {"..         ", dir.parent}} {
		e := b[i*dirEntrySize:]
		cluster := uint32(binary.LittleEndian.Uint16(e[dirClusterHigh:]))<<16 | uint32(binary.LittleEndian.Uint16(e[dirClusterLow:]))
		if string(e[:11]) != want.name || e[dirAttr]&attrDirectory == 0 || cluster != want.cluster {
			return fmt.Errorf("fat32: directory %q: entry %d is %q at cluster %d, not %q at cluster %d: %w", dir.Path, i, e[:11], cluster, want.name, want.cluster, ErrCorrupt)
		}
	}
	return nil
}

// checkFAT verifies that the clusters in use are the owned ones, and returns
// how many are free.
func (v *FS) checkFAT(owned []uint64) (free uint32, err error) {
	table := fatReader{v: v, fat: v.activeFAT}
	media, err := table.entry(0)
	if err != nil {
		return 0, err
	}
	if media|0xFF != fatMask || media&0xFF < 0xF0 {
		return 0, fmt.Errorf("fat32: FAT entry 0 is %08X: %w", media, ErrCorrupt)
	}
	for n := range v.info.Clusters {
		next, err := table.entry(n + firstCluster)
		if err != nil {
			return 0, err
		}
		if next == 0 {
			free++ // no chain has it: 0 would have ended none
		} else if next != fatBad && owned[n/64]>>(n%64)&1 == 0 {
			return 0, fmt.Errorf("fat32: cluster %d is in use but belongs to no file: %w", n+firstCluster, ErrCorrupt)
		}
	}
	return free, nil
}

// checkUnmounted returns ErrDirty if the volume says that it is in use, or had
// I/O errors: in the FAT as the specification has it, or in the boot sector.
func (v *FS) checkUnmounted() error {
	table := fatReader{v: v, fat: v.activeFAT}
	flags, err := table.entry(1)
	if err != nil {
		return err
	}
	if flags&fatFlagsClean != fatFlagsClean {
		return fmt.Errorf("fat32: FAT entry 1 is %08X: the volume was not unmounted, or had I/O errors: %w", flags, ErrDirty)
	}
	if v.state&stateDirty != 0 {
		return fmt.Errorf("fat32: boot sector, offset %d: found %02X: the volume was not unmounted, or had I/O errors: %w", bsState, v.state, ErrDirty)
	}
	return nil
}

func (v *FS) checkFSInfo(free uint32) error {
	b, err := v.readFSInfo()
	if err != nil {
		return err
	}
	if n := binary.LittleEndian.Uint32(b[fsiFreeCount:]); n != free {
		return fmt.Errorf("fat32: FSInfo says that %d clusters are free, %d are: %w", n, free, ErrCorrupt)
	}
	if n := binary.LittleEndian.Uint32(b[fsiNextFree:]); n != math.MaxUint32 && !v.valid(n) {
		return fmt.Errorf("fat32: FSInfo says that the next free cluster is %d of %d: %w", n, v.info.Clusters, ErrCorrupt)
	}
	return nil
}

// readFSInfo returns the FSInfo sector if its signatures say that it is one.
func (v *FS) readFSInfo() ([]byte, error) {
	b := make([]byte, 512)
	if err := readFull(v.r, b, v.fsInfo); err != nil {
		return nil, fmt.Errorf("fat32: read FSInfo: %w", err)
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	if u32(fsiLeadSignature) != fsiLead || u32(fsiStructSignature) != fsiStruct || u32(fsiTrailSignature) != fsiTrail {
		return nil, fmt.Errorf("fat32: FSInfo at offset %d: signatures %08X, %08X, %08X: %w", v.fsInfo, u32(fsiLeadSignature), u32(fsiStructSignature), u32(fsiTrailSignature), ErrCorrupt)
	}
	return b, nil
}

// checkCopies compares what the volume has twice.
func (v *FS) checkCopies() error {
	if v.backupBoot != 0 {
		if err := v.equal("boot sector", 0, v.backupBoot, 512); err != nil {
			return err
		}
	}
	return v.checkFATs()
}

// checkFATs compares the FATs, if there are two and both are in use.
func (v *FS) checkFATs() error {
	if v.numFATs == 2 && v.mirrored {
		return v.equal("FAT", v.fatStart, v.fatStart+v.fatSize, v.fatSize)
	}
	return nil
}

func (v *FS) equal(what string, a, b, size int64) error {
	const step = 64 << 10
	first, second := make([]byte, min(step, size)), make([]byte, min(step, size))
	for at := int64(0); at < size; at += step {
		n := min(step, size-at)
		for _, c := range []struct {
			p   []byte
			off int64
		}{{first[:n], a + at}, {second[:n], b + at}} {
			if err := readFull(v.r, c.p, c.off); err != nil {
				return fmt.Errorf("fat32: read the %s at offset %d: %w", what, c.off, err)
			}
		}
		if !bytes.Equal(first[:n], second[:n]) {
			return fmt.Errorf("fat32: the %s at offset %d and its copy at offset %d differ: %w", what, a+at, b+at, ErrCorrupt)
		}
	}
	return nil
}
