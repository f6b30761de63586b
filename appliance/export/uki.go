package export

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/google/uuid"
)

// maxUKI bounds what is held in memory: ten times what the appliance has.
const maxUKI = 256 << 20

// UKI is the program that the appliance consists of. It is safe for concurrent
// use if its reader is.
type UKI struct {
	data   io.ReaderAt
	size   int64
	digest [sha256.Size]byte
}

// Load reads a UKI of size bytes once, for its SHA-256. data is read again by
// each export and must not change. Its errors are ErrUKI and those of data.
func Load(data io.ReaderAt, size int64) (*UKI, error) {
	if size < 0 || size > maxUKI {
		return nil, fmt.Errorf("export: UKI of %d bytes, expected at most %d: %w", size, maxUKI, ErrUKI)
	}
	if err := checkPE(data, size); err != nil {
		return nil, err
	}
	h := sha256.New()
	if n, err := io.Copy(h, io.NewSectionReader(data, 0, size)); err != nil {
		return nil, fmt.Errorf("export: read the UKI at offset %d: %w", n, err)
	} else if n != size {
		return nil, fmt.Errorf("export: UKI ends after %d of %d bytes: %w", n, size, ErrUKI)
	}
	return &UKI{data: data, size: size, digest: [sha256.Size]byte(h.Sum(nil))}, nil
}

// checkPE looks at what firmware looks at first: the signatures and the
// machine of the PE format ("MS-DOS Stub", "COFF File Header").
func checkPE(data io.ReaderAt, size int64) error {
	const (
		lfanew    = 0x3C // where the offset of the PE signature is
		signature = "PE\x00\x00"
		amd64     = 0x8664
	)
	var dos [lfanew + 4]byte
	if err := readHeader(data, size, dos[:], 0, "DOS header"); err != nil {
		return err
	}
	if string(dos[:2]) != "MZ" {
		return fmt.Errorf("export: UKI: DOS header at offset 0: found %q, expected %q: %w", dos[:2], "MZ", ErrUKI)
	}
	at := int64(binary.LittleEndian.Uint32(dos[lfanew:]))
	var pe [len(signature) + 2]byte
	if err := readHeader(data, size, pe[:], at, "PE header"); err != nil {
		return err
	}
	if string(pe[:4]) != signature {
		return fmt.Errorf("export: UKI: PE header at offset %#x: found %q, expected %q: %w", at, pe[:4], signature, ErrUKI)
	}
	if machine := binary.LittleEndian.Uint16(pe[4:]); machine != amd64 {
		return fmt.Errorf("export: UKI: PE header at offset %#x: found machine %#04x, expected %#04x (x86-64): %w", at, machine, amd64, ErrUKI)
	}
	return nil
}

func readHeader(data io.ReaderAt, size int64, p []byte, off int64, structure string) error {
	if off > size-int64(len(p)) {
		return fmt.Errorf("export: UKI: %s at offset %#x: the file ends at %#x: %w", structure, off, size, ErrUKI)
	}
	if n, err := data.ReadAt(p, off); n < len(p) {
		return fmt.Errorf("export: read the UKI's %s at offset %#x: %w", structure, off, err)
	}
	return nil
}

// Size is the size in bytes.
func (u *UKI) Size() int64 { return u.size }

// SHA256 is the hash of all bytes.
func (u *UKI) SHA256() [sha256.Size]byte { return u.digest }

// id derives an identifier from the UKI's hash: a UUID of version 8, whose bits
// are the maker's to choose (RFC 9562, 5.8).
func (u *UKI) id(of string) uuid.UUID {
	h := sha256.New()
	h.Write([]byte("imageport appliance " + of + "\x00"))
	h.Write(u.digest[:])
	id := uuid.UUID(h.Sum(nil)[:16])
	id[6] = id[6]&0x0F | 0x80
	id[8] = id[8]&0x3F | 0x80
	return id
}

// id32 is the same for identifiers of 32 bits.
func (u *UKI) id32(of string) uint32 {
	id := u.id(of)
	return binary.LittleEndian.Uint32(id[:])
}
