package export

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// made is when the files of the tests were made.
var made = time.Date(2026, 11, 23, 6, 30, 7, 0, time.UTC)

// program is n bytes that look like an EFI program: its headers, then a
// quarter of zeros, then what cannot be compressed.
func program(n int, seed uint64) []byte {
	const at = 0x80
	p := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = rng.Read(p[n/4:])
	clear(p[:at+6])
	copy(p, "MZ")
	binary.LittleEndian.PutUint32(p[0x3C:], at)
	copy(p[at:], "PE\x00\x00\x64\x86")
	return p
}

func load(t testing.TB, p []byte) *UKI {
	t.Helper()
	u, err := Load(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// export writes a file of the format, and gives its path.
func export(t testing.TB, format Format, p []byte, opt Options) (string, Info) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ce"+format.Suffix())
	if opt.Time.IsZero() {
		opt.Time = made
	}
	info, err := WriteFile(context.Background(), path, format, load(t, p), opt)
	if err != nil {
		t.Fatal(err)
	}
	return path, info
}

// loader is a BIOS loader of recognisable bytes.
func loader(got *Layout) BIOSLoader {
	return func(l Layout) (BIOSCode, error) {
		*got = l
		return BIOSCode{MBR: bytes.Repeat([]byte{0xFA}, maxMBRCode), Boot: bytes.Repeat([]byte("boot"), 1000)}, nil
	}
}
