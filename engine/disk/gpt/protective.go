package gpt

import (
	"encoding/binary"
	"math"
)

// The boot code of the protective MBR, for whoever starts the disk with the
// BIOS firmware it had before. It fits any entry address of the MBR (0000:7C00
// or 07C0:0000): jumps are relative and the data segment is set.
//
//	7C00  31 C0       xor   ax, ax
//	7C02  8E D8       mov   ds, ax
//	7C04  8E D0       mov   ss, ax
//	7C06  BC 00 7C    mov   sp, 7C00h
//	7C09  FC          cld
//	7C0A  FB          sti
//	7C0B  BE 1F 7C    mov   si, message
//	7C0E  AC          next: lodsb
//	7C0F  84 C0       test  al, al
//	7C11  74 09       jz    stop
//	7C13  B4 0E       mov   ah, 0Eh       ; teletype output
//	7C15  BB 07 00    mov   bx, 0007h     ; page 0, light grey
//	7C18  CD 10       int   10h
//	7C1A  EB F2       jmp   next
//	7C1C  F4          stop: hlt           ; interrupts on: Ctrl-Alt-Del works
//	7C1D  EB FD       jmp   stop
//	7C1F              message:
const (
	stubCode = "\x31\xC0\x8E\xD8\x8E\xD0\xBC\x00\x7C\xFC\xFB\xBE\x1F\x7C" +
		"\xAC\x84\xC0\x74\x09\xB4\x0E\xBB\x07\x00\xCD\x10\xEB\xF2" +
		"\xF4\xEB\xFD"

	// Two lines: together they are as wide as the screen.
	stubMessage = "This disk was converted to UEFI.\r\n" +
		"Switch the VM's firmware from BIOS to UEFI/EFI.\r\n\x00"
)

// protectiveMBR returns LBA 0 of a GPT disk (UEFI 5.2.3): one entry over the
// whole disk, for tools that do not know GPT. The disk signature is zero: the
// disk GUID takes its place.
func protectiveMBR(sectors uint64, sectorSize int) []byte {
	b := make([]byte, sectorSize)
	copy(b[:mbrBootCode], stubCode+stubMessage)
	e := mbrEntry(b, 0)
	copy(e[1:4], []byte{0x00, 0x02, 0x00}) // CHS 0/0/2, which is LBA 1
	e[4] = typeGPTProtective
	copy(e[5:8], []byte{0xFF, 0xFF, 0xFF}) // no geometry to count in
	binary.LittleEndian.PutUint32(e[8:], 1)
	binary.LittleEndian.PutUint32(e[12:], uint32(min(sectors-1, math.MaxUint32)))
	b[mbrMagic], b[mbrMagic+1] = 0x55, 0xAA
	return b
}
