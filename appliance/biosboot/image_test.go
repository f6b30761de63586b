package biosboot

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/disk/gpt"
)

const (
	testStage2LBA = 2048
	testUKILBA    = 4096 + 77 // as in a file system: not at a track or page
	testCmdline   = "console=tty0 console=ttyS0 imageport=\"a b\""
)

// testSection is a section of a UKI of the tests.
type testSection struct {
	name string
	data []byte
}

// buildUKI makes a PE file of sections.
func buildUKI(t testing.TB, sections ...testSection) []byte {
	t.Helper()
	const peAt, headers = 0x80, 0x400
	var b bytes.Buffer
	dos := make([]byte, peAt)
	copy(dos, "MZ")
	dos[0x3C] = peAt
	b.Write(dos)
	b.WriteString("PE\x00\x00")
	put := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	put(pe.FileHeader{
		Machine:              pe.IMAGE_FILE_MACHINE_AMD64,
		NumberOfSections:     uint16(len(sections)),
		SizeOfOptionalHeader: uint16(binary.Size(pe.OptionalHeader64{})),
		Characteristics:      pe.IMAGE_FILE_EXECUTABLE_IMAGE,
	})
	put(pe.OptionalHeader64{Magic: 0x20B, SectionAlignment: 0x1000, FileAlignment: SectorSize, SizeOfHeaders: headers, Subsystem: pe.IMAGE_SUBSYSTEM_EFI_APPLICATION, NumberOfRvaAndSizes: 16})
	at, va := uint32(headers), uint32(0x1000)
	for _, s := range sections {
		h := pe.SectionHeader32{VirtualSize: uint32(len(s.data)), VirtualAddress: va, SizeOfRawData: uint32(roundUp(uint64(len(s.data)), SectorSize)), PointerToRawData: at, Characteristics: 0x40000040}
		copy(h.Name[:], s.name)
		put(h)
		at += h.SizeOfRawData
		va += uint32(roundUp(uint64(len(s.data)), 0x1000))
	}
	if b.Len() > headers {
		t.Fatalf("%d bytes of headers", b.Len())
	}
	b.Write(make([]byte, headers-b.Len()))
	for _, s := range sections {
		b.Write(s.data)
		b.Write(make([]byte, -len(s.data)&(SectorSize-1)))
	}
	return b.Bytes()
}

// standin is the kernel of testdata/standin.S with filler behind it, of sizes
// that fill no sector.
type standin struct {
	linux, initrd []byte
}

var makeStandin = sync.OnceValue(func() (s standin) {
	rng := rand.NewChaCha8([32]byte{5})
	s.initrd = make([]byte, 3<<20+123)
	_, _ = rng.Read(s.initrd)
	s.linux = make([]byte, 1<<20+100<<10+16)
	_, _ = rng.Read(s.linux)
	return s
})

// newStandin assembles the kernel. The other tests get by without it.
func newStandin(t *testing.T) standin {
	t.Helper()
	code := assemble(t, "testdata/standin.S", "0")
	s := makeStandin()
	s.linux = append(code, s.linux...)
	const setup = 4 * SectorSize
	binary.LittleEndian.PutUint32(s.linux[offSyssize:], uint32(len(s.linux)-setup)/16)
	return s
}

func (s standin) uki(t *testing.T) []byte {
	return buildUKI(t,
		testSection{".osrel", []byte("ID=test\n")},
		testSection{".cmdline", []byte(testCmdline)},
		testSection{".initrd", s.initrd},
		testSection{".linux", s.linux})
}

// sum is what the kernel computes, too.
func sum(b []byte) (h uint32) {
	for _, c := range b {
		h = bits.RotateLeft32(h, 1) + uint32(c)
	}
	return h
}

// testDisk is a raw image of a disk.
type testDisk struct {
	path string
	*os.File
}

// newDisk makes a disk that starts a UKI. size is in bytes.
func newDisk(t *testing.T, uki []byte, size int64, at Place) testDisk {
	t.Helper()
	code, err := Install(bytes.NewReader(uki), int64(len(uki)), at)
	if err != nil {
		t.Fatal(err)
	}
	d := testDisk{path: filepath.Join(t.TempDir(), "disk.raw")}
	if d.File, err = os.Create(d.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Truncate(size); err != nil {
		t.Fatal(err)
	}
	ukiSectors := uint64(len(uki)+SectorSize-1) / SectorSize
	table := gpt.Table{
		DiskGUID:   uuid.MustParse("8f9b2b0e-21ab-4f63-a3a5-0d8d4c1b0b55"),
		SectorSize: SectorSize,
		Sectors:    uint64(size) / SectorSize,
		Entries: []gpt.Entry{
			{
				Index: 0, Type: uuid.MustParse("21686148-6449-6e6f-744e-656564454649"), ID: uuid.MustParse("8f9b2b0e-21ab-4f63-a3a5-0d8d4c1b0b56"),
				FirstLBA: at.Stage2, LastLBA: at.Stage2 + 63, Name: "BIOS boot",
			},
			{
				Index: 1, Type: gpt.TypeESP, ID: uuid.MustParse("8f9b2b0e-21ab-4f63-a3a5-0d8d4c1b0b57"),
				FirstLBA: at.UKI, LastLBA: at.UKI + ukiSectors - 1, Name: "EFI system partition",
			},
		},
	}
	if err := table.Write(d); err != nil {
		t.Fatal(err)
	}
	d.put(t, code.MBR, 0)
	d.put(t, make([]byte, MBRSize-len(code.MBR)), int64(len(code.MBR)))
	d.put(t, code.Stage2, int64(at.Stage2)*SectorSize)
	d.put(t, uki, int64(at.UKI)*SectorSize)
	return d
}

func (d testDisk) put(t *testing.T, b []byte, at int64) {
	t.Helper()
	if _, err := d.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit.
func (d testDisk) flip(t *testing.T, at int64) {
	t.Helper()
	b := make([]byte, 1)
	if _, err := d.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	d.put(t, b, at)
}
