package export

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
)

const (
	tarBlock  = 512
	tarRecord = 20 * tarBlock // what GNU tar reads and writes at a time
)

// writeGCP writes what Google Cloud imports images from: a gzip of a GNU tar
// with one file, disk.raw, of whole GiB, sparse as GNU tar's old format has it
// ("tar --format=oldgnu -S"). The compressor is not the standard library's, so
// that files do not change with the version of Go.
func writeGCP(m *meter, w io.Writer, u *UKI, opt Options) (Layout, error) {
	disk, l, err := newDisk(u, opt, gib)
	if err != nil {
		return Layout{}, err
	}
	header, err := sparseHeader("disk.raw", disk, opt.Time)
	if err != nil {
		return Layout{}, err
	}
	stored := int64(0)
	content := []io.Reader{bytes.NewReader(header)}
	for _, p := range disk.parts {
		content = append(content, bytes.NewReader(p.data))
		stored += int64(len(p.data))
	}
	// Two blocks of zeros end the archive, and fill up its last record.
	size := int64(len(header)) + stored
	content = append(content, bytes.NewReader(make([]byte, roundUp(size+2*tarBlock, tarRecord)-size)))

	m.total = roundUp(size+2*tarBlock, tarRecord)
	zip := gzip.NewWriter(w)
	zip.ModTime = opt.Time
	if err := m.copy(zip, io.MultiReader(content...)); err != nil {
		return Layout{}, err
	}
	if err := zip.Close(); err != nil {
		return Layout{}, fmt.Errorf("export: write: %w", err)
	}
	return l, nil
}

// sparseHeader is the header of a sparse file in GNU tar's old format (GNU tar
// manual, "Basic Tar Format", struct oldgnu_header). The data of the file's
// parts follow it, which must be whole blocks: at most four, as many as fit
// without another header.
func sparseHeader(name string, file *contents, t time.Time) ([]byte, error) {
	const (
		sparseAt  = 386 // four times an offset and a length, in 12 digits each
		sparseLen = 24
		sparseMax = 4
		realSize  = 483
		checksum  = 148
	)
	if len(file.parts) > sparseMax {
		return nil, fmt.Errorf("export: %s has %d parts, expected at most %d", name, len(file.parts), sparseMax)
	}
	h := make([]byte, tarBlock)
	octal := func(at, digits int, n int64) { copy(h[at:], fmt.Sprintf("%0*o", digits, n)) }
	stored := int64(0)
	for i, p := range file.parts {
		octal(sparseAt+i*sparseLen, 11, p.off)
		octal(sparseAt+i*sparseLen+12, 11, int64(len(p.data)))
		stored += int64(len(p.data))
	}
	copy(h, name)
	octal(100, 7, 0o644)
	octal(108, 7, 0) // user
	octal(116, 7, 0) // group
	octal(124, 11, stored)
	octal(136, 11, t.Unix())
	h[156] = 'S' // a sparse file
	copy(h[257:], "ustar  \x00")
	copy(h[265:], "root") // user
	copy(h[297:], "root") // group
	octal(realSize, 11, file.size)

	// The checksum is that of a header with spaces in its place.
	copy(h[checksum:], "        ")
	sum := int64(0)
	for _, b := range h {
		sum += int64(b)
	}
	octal(checksum, 6, sum)
	h[checksum+6] = 0
	return h, nil
}
