package inject

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"imageport/engine/disk/overlay"
	"imageport/engine/windows/offline"
	"imageport/job"
)

// The volume has no journal that ntfs-3g would write, and a hive that was half
// written is lost. So the pages that Clean changes are first made in memory, and
// then written twice: to a stretch of the disk in front of its partitions, and
// when they are durable there, to their places. Whoever finds them in front writes
// them to their places, once more or for the first time, and clears the stretch.
const (
	redoStart = 64 << 10 // behind any partition table
	redoEnd   = 1 << 20  // where Windows has its first partition
	redoPage  = 4096     // the header's
	redoMagic = "imageport redo 1"
	maxPages  = 16 << 10
)

// redoArea gives where the stretch is; its size is 0 on a disk that has no room.
func redoArea(d target) (off, size int64, err error) {
	t, err := offline.ReadTable(sectors{d})
	if code := job.CodeOf(err); err != nil && code != job.BadPartitionTable {
		return 0, 0, err
	}
	if err != nil || t.Style == offline.NoTable {
		return 0, 0, nil
	}
	end := min(int64(redoEnd), d.Size())
	for _, p := range t.Partitions {
		end = min(end, p.Offset/redoPage*redoPage)
	}
	return redoStart, max(0, end-redoStart), nil
}

// sectors is the disk as it is for partition tables.
type sectors struct{ target }

func (sectors) SectorSize() int { return 512 }

// header says what the stretch holds: nothing that counts while the length is 0.
func header(packed []byte) []byte {
	h := append(make([]byte, 0, redoPage), redoMagic...)
	h = binary.LittleEndian.AppendUint64(h, uint64(len(packed)))
	sum := sha256.Sum256(packed)
	return append(h, sum[:]...)[:redoPage]
}

// redo completes a Clean that was cut off when its pages were durable, and clears
// away what one has left that was cut off before.
func redo(d target, p Partition) error {
	off, size, err := redoArea(d)
	if err != nil || size <= redoPage {
		return err
	}
	area := make([]byte, size)
	if _, err := d.ReadAt(area, off); err != nil {
		return err
	}
	if !bytes.HasPrefix(area, []byte(redoMagic)) {
		return nil
	}
	n := binary.LittleEndian.Uint64(area[len(redoMagic):])
	if n > 0 && n <= uint64(size-redoPage) {
		if packed := area[redoPage : redoPage+n]; bytes.Equal(area[:redoPage], header(packed)) {
			pages, err := unpack(packed, p)
			if err != nil {
				return err
			}
			if err := put(d, pages); err != nil {
				return err
			}
		}
	}
	return clearRedo(d, off, size)
}

// clearRedo makes the stretch empty: the header last, which says that it is ours.
func clearRedo(d target, off, size int64) error {
	for _, part := range []struct{ off, n int64 }{{off + redoPage, size - redoPage}, {off, redoPage}} {
		if _, err := d.WriteAt(make([]byte, part.n), part.off); err != nil {
			return err
		}
		if err := diskError(d.Sync()); err != nil {
			return err
		}
	}
	return nil
}

// commit brings the changed pages to the disk: all of them, or none, or so that
// redo completes it. Where they do not fit in front of the partitions, or something
// is there, they are merely written.
func commit(d target, changed *overlay.Overlay) error {
	if err := changed.DropUnchanged(); err != nil {
		return err
	}
	var pages []overlay.Page
	for page := range changed.Pages() {
		pages = append(pages, page)
	}
	packed, err := pack(pages)
	if err != nil {
		return err
	}
	off, size, err := redoArea(d)
	if err != nil {
		return err
	}
	if free, err := isFree(d, off, size); err != nil || !free || int64(len(packed)) > size-redoPage || len(pages) > maxPages {
		if err != nil {
			return err
		}
		return put(d, pages)
	}
	for _, part := range []struct {
		data []byte
		off  int64
	}{{header(nil), off}, {packed, off + redoPage}, {header(packed), off}} {
		if _, err := d.WriteAt(part.data, part.off); err != nil {
			return err
		}
		if err := diskError(d.Sync()); err != nil {
			return err
		}
	}
	if err := put(d, pages); err != nil {
		return err
	}
	return clearRedo(d, off, size)
}

func isFree(d target, off, size int64) (bool, error) {
	area := make([]byte, size)
	_, err := d.ReadAt(area, off)
	return bytes.Count(area, []byte{0}) == len(area), err
}

// put writes pages to their places, durably.
func put(d target, pages []overlay.Page) error {
	for _, page := range pages {
		if _, err := d.WriteAt(page.Data, page.Offset); err != nil {
			return err
		}
	}
	return diskError(d.Sync())
}

// pack makes one text of pages: of each its offset and length, 8 bytes each, and
// its data.
func pack(pages []overlay.Page) ([]byte, error) {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	for _, page := range pages {
		head := binary.LittleEndian.AppendUint64(nil, uint64(page.Offset))
		head = binary.LittleEndian.AppendUint64(head, uint64(len(page.Data)))
		if _, err := w.Write(append(head, page.Data...)); err != nil {
			return nil, err
		}
	}
	err = w.Close()
	return b.Bytes(), err
}

// unpack undoes pack. Pages outside of the partition are none of ours.
func unpack(packed []byte, p Partition) ([]overlay.Page, error) {
	const size = overlay.PageSize
	first, end := p.Offset/size*size, (p.Offset+p.SizeBytes+size-1)/size*size
	r := flate.NewReader(bytes.NewReader(packed))
	var pages []overlay.Page
	for {
		var head [2]int64 // offset and length
		err := binary.Read(r, binary.LittleEndian, &head)
		if err == io.EOF {
			return pages, nil
		}
		off, n := head[0], head[1]
		if err == nil && (n <= 0 || n > size || off < first || off > end-n || len(pages) == maxPages) {
			err = fmt.Errorf("%d bytes at offset %d", n, off)
		}
		var data []byte
		if err == nil {
			data = make([]byte, n)
			_, err = io.ReadFull(r, data)
		}
		if err != nil {
			return nil, job.Errorf(job.Internal, "Report it", "the changes in front of the partitions of the working disk cannot be read: %w", err)
		}
		pages = append(pages, overlay.Page{Offset: off, Data: data})
	}
}
