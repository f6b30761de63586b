package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"

	"imageport/testkit/disktest"
)

func TestLoad(t *testing.T) {
	p := program(1<<20, 1)
	u := load(t, p)
	if u.Size() != 1<<20 || u.SHA256() != sha256.Sum256(p) {
		t.Errorf("%d bytes, %x", u.Size(), u.SHA256())
	}
	a, b := u.id("disk"), u.id("volume")
	if a == b || a.Version() != 8 || a.Variant() != uuid.RFC4122 {
		t.Errorf("ids %v and %v", a, b)
	}
}

func TestLoadRefuses(t *testing.T) {
	with := func(change func(p []byte)) []byte {
		p := program(4096, 1)
		change(p)
		return p
	}
	for _, tt := range []struct {
		name string
		data []byte
		says string
	}{
		{"empty", nil, "DOS header at offset 0x0: the file ends at 0x0"},
		{"short", []byte("MZ"), "DOS header at offset 0x0: the file ends at 0x2"},
		{"a kernel", with(func(p []byte) { copy(p, "\x7FELF") }), `found "\x7fE", expected "MZ"`},
		{"DOS program", with(func(p []byte) { copy(p[0x80:], "NE") }), `at offset 0x80: found "NE\x00\x00", expected "PE\x00\x00"`},
		{"for ARM", with(func(p []byte) { p[0x84], p[0x85] = 0x64, 0xAA }), "found machine 0xaa64, expected 0x8664"},
		{"PE header at the end", with(func(p []byte) { binary.LittleEndian.PutUint32(p[0x3C:], 4096-5) }), "PE header at offset 0xffb: the file ends at 0x1000"},
		{"PE header far away", with(func(p []byte) { binary.LittleEndian.PutUint32(p[0x3C:], 1<<32-1) }), "PE header at offset 0xffffffff"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(bytes.NewReader(tt.data), int64(len(tt.data)))
			if !errors.Is(err, ErrUKI) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want one that says %q", err, tt.says)
			}
		})
	}
	p := program(1<<20, 1)
	for _, size := range []int64{-1, maxUKI + 1, 1<<20 + 1} {
		if _, err := Load(bytes.NewReader(p), size); !errors.Is(err, ErrUKI) {
			t.Errorf("size %d: %v", size, err)
		}
	}
	for _, at := range []int64{0, 0x80, 1 << 19} {
		if _, err := Load(disktest.FailingAt(bytes.NewReader(p), at, io.ErrClosedPipe), 1<<20); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("a reader that fails at %d: %v", at, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(program(0x86, 1), int64(0x86))
	f.Add(program(1000, 2), int64(900))
	f.Fuzz(func(t *testing.T, p []byte, size int64) {
		u, err := Load(bytes.NewReader(p), size)
		if err != nil {
			if !errors.Is(err, ErrUKI) && !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			return
		}
		if u.Size() != size || u.SHA256() != sha256.Sum256(p[:size]) {
			t.Errorf("%d bytes, %x", u.Size(), u.SHA256())
		}
	})
}
