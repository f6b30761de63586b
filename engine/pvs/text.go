package pvs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// encoding is how the text of a manifest is stored.
type encoding struct {
	mark  string                 // byte order mark, as bytes
	order binary.AppendByteOrder // of UTF-16, nil for UTF-8
}

// encodings are those that .NET, with which PVS and the scripts around it are
// written, gives XML files.
var encodings = []encoding{
	{"\xEF\xBB\xBF", nil},
	{"\xFF\xFE", binary.LittleEndian},
	{"\xFE\xFF", binary.BigEndian},
}

// decodeText finds out the encoding of a file by its byte order mark. Text that
// could not be encoded to the same bytes again is refused with ErrManifest.
func decodeText(file []byte) (string, encoding, error) {
	for _, e := range encodings {
		rest, ok := bytes.CutPrefix(file, []byte(e.mark))
		if !ok {
			continue
		}
		if e.order == nil {
			if !utf8.Valid(rest) {
				return "", e, fmt.Errorf("%w: not UTF-8, although it begins with its byte order mark", ErrManifest)
			}
			return string(rest), e, nil
		}
		text := e.decode16(rest)
		if !bytes.Equal(e.encode(text), file) { // half a surrogate pair, or half a unit
			return "", e, fmt.Errorf("%w: invalid UTF-16", ErrManifest)
		}
		return text, e, nil
	}
	if !utf8.Valid(file) {
		return "", encoding{}, fmt.Errorf("%w: neither UTF-8 nor UTF-16 with a byte order mark", ErrManifest)
	}
	return string(file), encoding{}, nil
}

func (e encoding) decode16(b []byte) string {
	// Both byte orders read as well as append.
	order := e.order.(binary.ByteOrder)
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = order.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// encode gives the file that holds the text.
func (e encoding) encode(text string) []byte {
	b := []byte(e.mark)
	if e.order == nil {
		return append(b, text...)
	}
	for _, u := range utf16.Encode([]rune(text)) {
		b = e.order.AppendUint16(b, u)
	}
	return b
}
