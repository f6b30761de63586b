package biosboot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

var (
	// ErrKernel says that section .linux is not a relocatable bzImage of boot
	// protocol 2.10 (Linux 2.6.31) or later, or not a whole one.
	ErrKernel = errors.New("not a kernel that the loader can start")
	// ErrTooBig says that the initrd or the command line is more than the
	// kernel takes.
	ErrTooBig = errors.New("too big for the kernel")
)

// Where the loader puts things (see loader.S), in bytes.
const (
	loadAddress = 1 << 20 // of the protected-mode kernel
	maxSetup    = 0x8000  // the heap begins behind it
	maxCmdline  = 0x8000
	pageSize    = 0x1000
	maxAddress  = 1<<32 - pageSize // the loader uses no memory behind it
)

// The real-mode kernel header in the kernel's first sectors (Linux,
// Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
const (
	offSetupSects     = 0x1F1 // u8
	offSyssize        = 0x1F4 // u32, in units of 16 bytes
	offBootFlag       = 0x1FE // u16
	offHeader         = 0x202 // u32
	offVersion        = 0x206 // u16
	offLoadflags      = 0x211 // u8
	offCode32Start    = 0x214 // u32
	offInitrdAddrMax  = 0x22C // u32, inclusive
	offAlignment      = 0x230 // u32
	offRelocatable    = 0x234 // u8
	offCmdlineSize    = 0x238 // u32, without the zero
	offPrefAddress    = 0x258 // u64
	offInitSize       = 0x260 // u32
	setupHeaderEnd    = 0x264
	bootFlag          = 0xAA55
	headerMagic       = "HdrS"
	minVersion        = 0x020A // the first with pref_address and init_size
	loadedHigh        = 1 << 0 // of loadflags
	defaultSetupSects = 4      // what 0 means
)

// kernel is a bzImage in the UKI.
type kernel struct {
	setup, code piece // real-mode and protected-mode code
	runStart    uint64
	initSize    uint64
	initrdLimit uint64 // exclusive
	maxCmdline  int64
}

// memory is what the loader has to know of the machine's memory: linear
// addresses, the ends exclusive.
type memory struct {
	runStart, runEnd     uint32 // where the kernel unpacks itself
	initrdLow, initrdEnd uint32 // the initrd must lie in here
}

// readKernel reads the header of the kernel in section .linux.
func readKernel(uki io.ReaderAt, linux piece) (kernel, error) {
	bad := func(off int, format string, args ...any) (kernel, error) {
		return kernel{}, fmt.Errorf("biosboot: kernel header, offset 0x%X: %s: %w", off, fmt.Sprintf(format, args...), ErrKernel)
	}
	if linux.size < setupHeaderEnd {
		return kernel{}, fmt.Errorf("biosboot: section .linux has %d bytes, a kernel's header %d: %w", linux.size, setupHeaderEnd, ErrKernel)
	}
	h := make([]byte, setupHeaderEnd)
	if err := readFull(uki, h, linux.offset); err != nil {
		return kernel{}, err
	}
	le := binary.LittleEndian
	if v := le.Uint16(h[offBootFlag:]); v != bootFlag {
		return bad(offBootFlag, "found 0x%04X, expected boot_flag 0x%04X", v, bootFlag)
	}
	if v := h[offHeader:][:len(headerMagic)]; string(v) != headerMagic {
		return bad(offHeader, "found %q, expected %q", v, headerMagic)
	}
	if v := le.Uint16(h[offVersion:]); v < minVersion {
		return bad(offVersion, "boot protocol %d.%02d, at least %d.%02d is needed", v>>8, v&0xFF, minVersion>>8, minVersion&0xFF)
	}
	if v := h[offLoadflags]; v&loadedHigh == 0 {
		return bad(offLoadflags, "loadflags 0x%02X are those of a zImage, not of a bzImage", v)
	}
	if v := le.Uint32(h[offCode32Start:]); v != loadAddress {
		return bad(offCode32Start, "code32_start 0x%X, expected 0x%X", v, loadAddress)
	}
	if h[offRelocatable] == 0 {
		return bad(offRelocatable, "the kernel is not relocatable")
	}
	alignment := le.Uint32(h[offAlignment:])
	if bits.OnesCount32(alignment) != 1 {
		return bad(offAlignment, "kernel_alignment 0x%X is no power of two", alignment)
	}

	sects := int64(h[offSetupSects])
	if sects == 0 {
		sects = defaultSetupSects
	}
	setup := piece{linux.offset, (1 + sects) * SectorSize}
	if setup.size > maxSetup {
		return bad(offSetupSects, "%d setup sectors, more than the 32 KiB that a setup may have", sects)
	}
	code := piece{linux.offset + setup.size, linux.size - setup.size}
	if want := int64(le.Uint32(h[offSyssize:])) * 16; code.size < max(want, 1) {
		return bad(offSyssize, "%d bytes of protected-mode code, of which section .linux has %d", want, max(code.size, 0))
	}

	// The kernel unpacks itself to pref_address, or above it if it was loaded
	// there (arch/x86/boot/compressed/head_64.S).
	runStart := max(roundUp(loadAddress, uint64(alignment)), le.Uint64(h[offPrefAddress:]))
	initSize := uint64(le.Uint32(h[offInitSize:]))
	if runStart > maxAddress || runStart+initSize > maxAddress {
		return bad(offPrefAddress, "the kernel needs %d bytes at 0x%X, which is beyond 4 GiB", initSize, runStart)
	}
	return kernel{
		setup:       setup,
		code:        code,
		runStart:    runStart,
		initSize:    initSize,
		initrdLimit: min(uint64(le.Uint32(h[offInitrdAddrMax:]))+1, maxAddress),
		maxCmdline:  min(int64(le.Uint32(h[offCmdlineSize:])), maxCmdline),
	}, nil
}

// plan tells what memory the kernel needs, and which it leaves for an initrd.
func (k kernel) plan(initrd int64) (memory, error) {
	runEnd := k.runStart + k.initSize
	low := roundUp(max(runEnd, loadAddress+uint64(k.code.size)), pageSize)
	if low > k.initrdLimit || uint64(initrd) > k.initrdLimit-low {
		return memory{}, fmt.Errorf("biosboot: section .initrd has %d bytes, the kernel has room for them from 0x%X to 0x%X only: %w", initrd, low, k.initrdLimit, ErrTooBig)
	}
	return memory{uint32(k.runStart), uint32(runEnd), uint32(low), uint32(k.initrdLimit)}, nil
}

// roundUp rounds up to a multiple of to, a power of two.
func roundUp(n, to uint64) uint64 {
	return (n + to - 1) &^ (to - 1)
}
