package vhdx

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"
)

// header is the part of a header structure that a reader needs, [MS-VHDX] 2.2.2.
type header struct {
	sequence   uint64
	fileWrite  uuid.UUID
	dataWrite  uuid.UUID
	log        uuid.UUID
	logVersion uint16
	version    uint16
	logLength  uint32
	logOffset  uint64
	// offset is where this copy lies in the file.
	offset int64
}

// readFileIdentifier checks the signature and gives the creator, [MS-VHDX] 2.2.1.
func readFileIdentifier(r io.ReaderAt) (creator string, err error) {
	p := make([]byte, creatorOffset+creatorSize)
	n, err := r.ReadAt(p, fileIdentifierOffset)
	if n < len(p) && err != nil && err != io.EOF {
		return "", fmt.Errorf("vhdx: reading file identifier at offset 0: %w", err)
	}
	p = p[:n]
	if !bytes.HasPrefix(p, []byte(fileSignature)) {
		return "", refuse(ErrNotVHDX, "file identifier", fileIdentifierOffset,
			"found %q, expected %q", p[:min(n, len(fileSignature))], fileSignature)
	}
	creator, _, _ = strings.Cut(decodeUTF16(p[creatorOffset:]), "\x00")
	return creator, nil
}

// currentHeader reads both headers and gives the current one: valid, with the
// higher sequence number. Equal numbers are accepted if all else is equal too,
// as some writers leave them.
func currentHeader(r io.ReaderAt) (header, error) {
	var raw [2][]byte
	var invalid [2]error
	for i, off := range []int64{header1Offset, header2Offset} {
		raw[i] = make([]byte, headerSize)
		if err := readFull(r, fmt.Sprintf("header %d", i+1), off, raw[i]); err != nil {
			return header{}, err
		}
		invalid[i] = verifyChecksum(raw[i], headerSignature)
	}
	first, second := parseHeader(raw[0], header1Offset), parseHeader(raw[1], header2Offset)

	current := first
	switch {
	case invalid[0] != nil && invalid[1] != nil:
		return header{}, corrupt("headers 1 and 2", header1Offset, "both invalid: %v; %v", invalid[0], invalid[1])
	case invalid[0] != nil:
		current = second
	case invalid[1] != nil:
	case first.sequence == second.sequence:
		if !bytes.Equal(raw[0], raw[1]) {
			return header{}, corrupt("headers 1 and 2", header1Offset,
				"both valid with sequence number %d, but different", first.sequence)
		}
	case second.sequence > first.sequence:
		current = second
	}
	if current.version != formatVersion {
		return header{}, refuse(ErrUnsupported, "header", current.offset,
			"found version %d, expected %d", current.version, formatVersion)
	}
	return current, nil
}

func parseHeader(p []byte, off int64) header {
	return header{
		sequence:   le.Uint64(p[8:]),
		fileWrite:  guid(p[16:]),
		dataWrite:  guid(p[32:]),
		log:        guid(p[48:]),
		logVersion: le.Uint16(p[64:]),
		version:    le.Uint16(p[66:]),
		logLength:  le.Uint32(p[68:]),
		logOffset:  le.Uint64(p[72:]),
		offset:     off,
	}
}

// verifyChecksum says why a header or region table is not valid.
func verifyChecksum(p []byte, signature string) error {
	if found := p[:len(signature)]; string(found) != signature {
		return fmt.Errorf("found signature %q, expected %q", found, signature)
	}
	if found, want := le.Uint32(p[4:]), checksum(p); found != want {
		return fmt.Errorf("found checksum %#08x, expected %#08x", found, want)
	}
	return nil
}
