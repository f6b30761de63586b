package biosboot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"testing"
)

// header is a kernel's header and a little code, as Debian's 6.12 has them.
func header() []byte {
	k := make([]byte, 3*SectorSize)
	le := binary.LittleEndian
	k[offSetupSects] = 1
	le.PutUint32(k[offSyssize:], SectorSize/16)
	le.PutUint16(k[offBootFlag:], bootFlag)
	copy(k[offHeader:], headerMagic)
	le.PutUint16(k[offVersion:], 0x020F)
	k[offLoadflags] = loadedHigh
	le.PutUint32(k[offCode32Start:], loadAddress)
	le.PutUint32(k[offInitrdAddrMax:], 0x7FFFFFFF)
	le.PutUint32(k[offAlignment:], 0x200000)
	k[offRelocatable] = 1
	le.PutUint32(k[offCmdlineSize:], 2047)
	le.PutUint64(k[offPrefAddress:], 0x1000000)
	le.PutUint32(k[offInitSize:], 0x3378000)
	return k
}

// smallUKI has a kernel that no machine could run.
func smallUKI(t testing.TB, kernel []byte) []byte {
	return buildUKI(t,
		testSection{".text", make([]byte, 10)},
		testSection{".linux", kernel},
		testSection{".cmdline", []byte("quiet")},
		testSection{".initrd", []byte("an initrd")})
}

var testPlace = Place{UKI: testUKILBA, Stage2: testStage2LBA}

func TestInstall(t *testing.T) {
	k := header()
	uki := smallUKI(t, k)
	code, err := Install(bytes.NewReader(uki), int64(len(uki)), testPlace)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	if len(code.MBR) != MBRSize || len(code.Stage2) != Stage2Size {
		t.Fatalf("%d and %d bytes", len(code.MBR), len(code.Stage2))
	}
	if lba := le.Uint64(code.MBR[offStage2LBA:]); lba != testStage2LBA {
		t.Errorf("second stage at LBA %d, want %d", lba, testStage2LBA)
	}
	var zero uint32
	for i := 0; i < Stage2Size; i += 4 {
		zero += le.Uint32(code.Stage2[i:])
	}
	if zero != 0 {
		t.Errorf("the second stage adds up to 0x%X", zero)
	}
	memory := make([]uint32, 4)
	for i := range memory {
		memory[i] = le.Uint32(code.Stage2[offRunStart+4*i:])
	}
	if want := []uint32{0x1000000, 0x4378000, 0x4378000, 0x80000000}; !slices.Equal(memory, want) {
		t.Errorf("memory %#x, want %#x", memory, want)
	}
	for i, want := range [][]byte{k[:1024], []byte("quiet"), k[1024:], []byte("an initrd")} {
		p := code.Stage2[offPieces+i*pieceSize:]
		at := int64(le.Uint64(p[offLBA:])-testUKILBA) * SectorSize
		got := uki[at:][:le.Uint32(p[offBytes:])]
		if !bytes.Equal(got, want) {
			t.Errorf("piece %d is %q, want %q", i, got, want)
		}
		if crc := le.Uint32(p[offCRC:]); crc != crc32.ChecksumIEEE(want) {
			t.Errorf("piece %d has CRC 0x%X", i, crc)
		}
	}
	again, err := Install(bytes.NewReader(uki), int64(len(uki)), testPlace)
	if err != nil || !bytes.Equal(again.MBR, code.MBR) || !bytes.Equal(again.Stage2, code.Stage2) {
		t.Errorf("the second loader is another one: %v", err)
	}
}

// TestInstallKernels: what kernels may have in their headers, and what not.
func TestInstallKernels(t *testing.T) {
	le := binary.LittleEndian
	for _, tt := range []struct {
		name   string
		change func(k []byte)
		want   error
	}{
		{"nothing", func([]byte) {}, nil},
		{"setup sectors 0 mean 4", func(k []byte) { k[offSetupSects] = 0 }, ErrKernel}, // then no code is left
		{"setup of 32 KiB and more", func(k []byte) { k[offSetupSects] = 64 }, ErrKernel},
		{"code longer than the section", func(k []byte) { le.PutUint32(k[offSyssize:], SectorSize/16+1) }, ErrKernel},
		{"code shorter: a signature follows", func(k []byte) { le.PutUint32(k[offSyssize:], 3) }, nil},
		{"no boot flag", func(k []byte) { k[offBootFlag] = 0 }, ErrKernel},
		{"no HdrS", func(k []byte) { k[offHeader] = 'h' }, ErrKernel},
		{"protocol 2.09", func(k []byte) { le.PutUint16(k[offVersion:], 0x0209) }, ErrKernel},
		{"protocol 2.10", func(k []byte) { le.PutUint16(k[offVersion:], 0x020A) }, nil},
		{"zImage", func(k []byte) { k[offLoadflags] = 0 }, ErrKernel},
		{"loaded elsewhere", func(k []byte) { le.PutUint32(k[offCode32Start:], 0x200000) }, ErrKernel},
		{"not relocatable", func(k []byte) { k[offRelocatable] = 0 }, ErrKernel},
		{"alignment 0", func(k []byte) { le.PutUint32(k[offAlignment:], 0) }, ErrKernel},
		{"alignment of no power of two", func(k []byte) { le.PutUint32(k[offAlignment:], 3<<20) }, ErrKernel},
		{"runs above 4 GiB", func(k []byte) { le.PutUint64(k[offPrefAddress:], 1<<32) }, ErrKernel},
		{"runs at the end of the world", func(k []byte) { le.PutUint64(k[offPrefAddress:], 1<<64-1) }, ErrKernel},
		{"unpacks beyond 4 GiB", func(k []byte) { le.PutUint32(k[offInitSize:], 1<<32-1) }, ErrKernel},
		{"no room for the initrd", func(k []byte) { le.PutUint32(k[offInitrdAddrMax:], 0x4378000+7) }, ErrTooBig},
		{"just room for the initrd", func(k []byte) { le.PutUint32(k[offInitrdAddrMax:], 0x4378000+8) }, nil},
		{"initrd below the kernel", func(k []byte) { le.PutUint32(k[offInitrdAddrMax:], 0xFFFFFF) }, ErrTooBig},
		{"initrd anywhere", func(k []byte) { le.PutUint32(k[offInitrdAddrMax:], 1<<32-1) }, nil},
		{"command line of 4", func(k []byte) { le.PutUint32(k[offCmdlineSize:], 4) }, ErrTooBig},
		{"command line of 5", func(k []byte) { le.PutUint32(k[offCmdlineSize:], 5) }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := header()
			tt.change(k)
			uki := smallUKI(t, k)
			if _, err := Install(bytes.NewReader(uki), int64(len(uki)), testPlace); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// TestInstallFiles: what is no UKI that the loader could load.
func TestInstallFiles(t *testing.T) {
	linux, initrd, cmdline := testSection{".linux", header()}, testSection{".initrd", []byte("i")}, testSection{".cmdline", []byte("c")}
	const sections = 0x80 + 4 + 20 + 240 // offset of the section table
	le := binary.LittleEndian
	set := func(section, off int, v uint32) func([]byte) []byte {
		return func(uki []byte) []byte {
			le.PutUint32(uki[sections+40*section+off:], v)
			return uki
		}
	}
	cut := func(n int) func([]byte) []byte { return func(uki []byte) []byte { return uki[:n] } }
	good := []testSection{linux, initrd, cmdline}
	for _, tt := range []struct {
		name     string
		sections []testSection
		change   func(uki []byte) []byte
		want     error
	}{
		{"good", good, nil, nil},
		{"no command line", []testSection{initrd, linux}, nil, nil},
		{"empty command line", []testSection{initrd, {".cmdline", nil}, linux}, nil, nil},
		{"no kernel", []testSection{initrd, cmdline}, nil, ErrNotUKI},
		{"no initrd", []testSection{linux, cmdline}, nil, ErrNotUKI},
		{"empty initrd", []testSection{linux, {".initrd", nil}}, nil, ErrNotUKI},
		{"empty kernel", []testSection{{".linux", nil}, initrd}, nil, ErrNotUKI},
		{"tiny kernel", []testSection{{".linux", header()[:0x263]}, initrd}, nil, ErrKernel},
		{"two kernels", []testSection{linux, linux, initrd}, nil, ErrNotUKI},
		{"two command lines", []testSection{linux, initrd, cmdline, cmdline}, nil, ErrNotUKI},
		{"empty file", good, cut(0), ErrNotUKI},
		{"a byte", good, cut(1), ErrNotUKI},
		{"MZ only", good, cut(2), ErrNotUKI},
		{"headers only", good, cut(0x400), ErrNotUKI},
		{"cut in its last section", good, cut(0x400 + 4*SectorSize), ErrNotUKI},
		{"object file", good, func(uki []byte) []byte { return uki[0x84:] }, ErrNotUKI},
		{"32 bits", good, func(uki []byte) []byte { le.PutUint16(uki[0x84:], 0x14C); return uki }, ErrNotUKI},
		{"more than the file has", good, set(1, 8, SectorSize+1), ErrNotUKI},
		{"beyond the file", good, set(1, 20, 1<<31), ErrNotUKI},
		{"kernel not at a sector", good, set(0, 20, 0x410), ErrAlignment},
		{"initrd not at a sector", good, set(1, 20, 0x420), ErrAlignment},
		{"command line not at a sector", good, set(2, 20, 0x420), ErrAlignment},
	} {
		t.Run(tt.name, func(t *testing.T) {
			uki := buildUKI(t, tt.sections...)
			if tt.change != nil {
				uki = tt.change(uki)
			}
			if _, err := Install(bytes.NewReader(uki), int64(len(uki)), testPlace); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestInstallPlaces(t *testing.T) {
	uki := smallUKI(t, header())
	sectors := uint64(len(uki)) / SectorSize
	for _, tt := range []struct {
		name string
		at   Place
		want error
	}{
		{"usual", testPlace, nil},
		{"second stage behind the GPT", Place{UKI: 2048, Stage2: 34}, nil},
		{"second stage behind the UKI", Place{UKI: 2048, Stage2: 2048 + sectors}, nil},
		{"second stage right before the UKI", Place{UKI: 2048, Stage2: 2044}, nil},
		{"no second stage", Place{UKI: 2048}, ErrPlace},
		{"no UKI", Place{Stage2: 2048}, ErrPlace},
		{"overlap in front", Place{UKI: 2048, Stage2: 2045}, ErrPlace},
		{"overlap behind", Place{UKI: 2048, Stage2: 2047 + sectors}, ErrPlace},
		{"beyond every disk", Place{UKI: 1 << 48, Stage2: 34}, ErrPlace},
		{"beyond every number", Place{UKI: 2048, Stage2: 1<<64 - 1}, ErrPlace},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Install(bytes.NewReader(uki), int64(len(uki)), tt.at); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// shortReader breaks off.
type shortReader struct {
	io.ReaderAt
	end int64
}

var errBroken = errors.New("broken")

func (r shortReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > r.end {
		return 0, errBroken
	}
	return r.ReaderAt.ReadAt(p, off)
}

// TestInstallReader: whatever read fails, the reader's error comes back.
func TestInstallReader(t *testing.T) {
	uki := smallUKI(t, header())
	for end := range int64(len(uki)) {
		_, err := Install(shortReader{bytes.NewReader(uki), end}, int64(len(uki)), testPlace)
		if err == nil {
			// Nobody reads the padding of the last section.
			if end < int64(len(uki)-SectorSize) {
				t.Errorf("no error though reading fails from %d on", end)
			}
			continue
		}
		if !errors.Is(err, errBroken) {
			t.Fatalf("reading fails from %d on: error %v", end, err)
		}
	}
}

// FuzzInstall: no file makes Install panic, and pieces lie in the file.
func FuzzInstall(f *testing.F) {
	uki := smallUKI(f, header())
	f.Add(uki)
	f.Add(uki[:0x400])
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, uki []byte) {
		code, err := Install(bytes.NewReader(uki), int64(len(uki)), testPlace)
		if err != nil {
			for _, known := range []error{ErrNotUKI, ErrAlignment, ErrKernel, ErrTooBig} {
				if errors.Is(err, known) {
					return
				}
			}
			t.Fatalf("unknown error %v", err)
		}
		le := binary.LittleEndian
		for i := range 4 {
			p := code.Stage2[offPieces+i*pieceSize:]
			at := (le.Uint64(p[offLBA:]) - testUKILBA) * SectorSize
			n := uint64(le.Uint32(p[offBytes:]))
			if at+n > uint64(len(uki)) {
				t.Fatalf("piece %d: %d bytes at %d of %d", i, n, at, len(uki))
			}
			if i != 1 && n == 0 {
				t.Fatalf("piece %d is empty", i)
			}
		}
		m := code.Stage2[offRunStart:]
		initrd := le.Uint32(code.Stage2[offPieces+3*pieceSize+offBytes:])
		if runEnd, low, end := le.Uint32(m[4:]), le.Uint32(m[8:]), le.Uint32(m[12:]); low < runEnd || uint64(low)+uint64(initrd) > uint64(end) {
			t.Fatalf("memory % X for an initrd of %d bytes", m[:16], initrd)
		}
	})
}
