package wof

import (
	"encoding/binary"
	"fmt"
)

// Names that the filter has for things on a volume.
const (
	// ReparseTag is IO_REPARSE_TAG_WOF of [MS-FSCC] 2.1.2.1.
	ReparseTag = 0x80000017
	// StreamName is that of the $DATA stream with the compressed data.
	StreamName = "WofCompressedData"
)

// Algorithm says how a file is compressed: FILE_PROVIDER_COMPRESSION_*.
type Algorithm uint32

// The algorithms, by the size of their chunks. `compact /exe` and CompactOS
// use XPRESS4K unless told otherwise.
const (
	XPRESS4K  Algorithm = 0
	LZX       Algorithm = 1
	XPRESS8K  Algorithm = 2
	XPRESS16K Algorithm = 3
)

func (a Algorithm) String() string {
	switch a {
	case XPRESS4K:
		return "XPRESS4K"
	case LZX:
		return "LZX"
	case XPRESS8K:
		return "XPRESS8K"
	case XPRESS16K:
		return "XPRESS16K"
	}
	return fmt.Sprintf("algorithm %d", uint32(a))
}

// chunkSize is the number of bytes that every chunk but the last one expands
// to; zero for unknown algorithms.
func (a Algorithm) chunkSize() int64 {
	switch a {
	case XPRESS4K:
		return 4 << 10
	case LZX:
		return 32 << 10
	case XPRESS8K:
		return 8 << 10
	case XPRESS16K:
		return 16 << 10
	}
	return 0
}

// Providers and versions of WOF_EXTERNAL_INFO and FILE_PROVIDER_EXTERNAL_INFO.
const (
	wofVersion          = 1
	providerWIM         = 1
	providerFile        = 2
	fileProviderVersion = 1
)

// ParseReparse decodes the data of a reparse point with tag ReparseTag, behind
// its header of 8 bytes. It fails with ErrUnsupported for data in a WIM and for
// versions and algorithms that it does not know.
func ParseReparse(data []byte) (Algorithm, error) {
	if len(data) < 8 {
		return 0, corruptf("reparse data of %d bytes, want at least 8", len(data))
	}
	version, provider := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
	switch {
	case version != wofVersion:
		return 0, fmt.Errorf("%w: reparse data of version %d, want %d", ErrUnsupported, version, wofVersion)
	case provider == providerWIM:
		return 0, fmt.Errorf("%w: the data is in a WIM file (WIMBoot), not on this volume", ErrUnsupported)
	case provider != providerFile:
		return 0, fmt.Errorf("%w: provider %d, want %d", ErrUnsupported, provider, providerFile)
	case len(data) < 16:
		return 0, corruptf("reparse data of %d bytes, want at least 16", len(data))
	}
	if version := binary.LittleEndian.Uint32(data[8:]); version != fileProviderVersion {
		return 0, fmt.Errorf("%w: file provider data of version %d, want %d", ErrUnsupported, version, fileProviderVersion)
	}
	a := Algorithm(binary.LittleEndian.Uint32(data[12:]))
	if a.chunkSize() == 0 {
		return 0, fmt.Errorf("%w: compression %s", ErrUnsupported, a)
	}
	return a, nil
}
