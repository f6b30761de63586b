package winimage

import "encoding/binary"

const (
	machineI386  = 0x14c
	machineAMD64 = 0x8664
)

// portableExecutable is the beginning of a program for a machine: its headers
// and nothing that could run.
func portableExecutable(machine uint16) []byte {
	const peAt = 0x80
	le := binary.LittleEndian
	b := make([]byte, 1024)
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], peAt)
	copy(b[peAt:], "PE\x00\x00")
	le.PutUint16(b[peAt+4:], machine)
	le.PutUint16(b[peAt+20:], 0xf0) // size of the optional header
	le.PutUint16(b[peAt+22:], 0x22) // executable, large addresses
	magic := uint16(0x20b)          // PE32+
	if machine == machineI386 {
		magic = 0x10b
	}
	le.PutUint16(b[peAt+24:], magic)
	return b
}
