package ntfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"imageport/engine/windows/wof"
)

// overlay is the content of a file that the Windows Overlay Filter compressed.
type overlay struct {
	*wof.Reader
	stream *stream
}

// ReadAt implements io.ReaderAt.
func (o overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.Reader.ReadAt(p, off)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%s: %w", o.stream, overlayError(err))
	}
	return n, err
}

// openOverlay finds the content of a file with a WOF reparse point. Its size is
// that of $DATA, which otherwise is a hole.
func (v *Volume) openOverlay(rec *record, size int64) (io.ReaderAt, error) {
	b, err := v.value(rec, typeReparsePoint, maxReparseData)
	if err != nil {
		return nil, err
	}
	if n := int(binary.LittleEndian.Uint16(b[4:])); n > len(b)-8 {
		return nil, corruptf("MFT record %d, $REPARSE_POINT: %d bytes of data in %d", rec.number, n, len(b))
	}
	algorithm, err := wof.ParseReparse(b[8:][:binary.LittleEndian.Uint16(b[4:])])
	if err != nil {
		return nil, fmt.Errorf("MFT record %d, $REPARSE_POINT: %w", rec.number, overlayError(err))
	}
	s, err := v.stream(rec, typeData, wof.StreamName)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, corruptf("MFT record %d: a WOF reparse point (CompactOS) without a stream %s", rec.number, wof.StreamName)
	}
	if s.flags&flagEncrypted != 0 {
		return nil, fmt.Errorf("%w: %s: encrypted by EFS", ErrUnsupported, s)
	}
	r, err := wof.NewReader(s, s.size, size, algorithm)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s, overlayError(err))
	}
	return overlay{r, s}, nil
}

// overlayError adds the kind that an error of the WOF decoder is here.
func overlayError(err error) error {
	switch {
	case errors.Is(err, wof.ErrCorrupt):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case errors.Is(err, wof.ErrUnsupported):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return err
}
