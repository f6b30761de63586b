package ntfsmount

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Extended attributes by which ntfs-3g gives what NTFS has for a file: the
// self-relative security descriptor, and the attributes as 4 bytes.
const aclAttribute = "system.ntfs_acl"

// Protect gives the file or directory at a path of a mounted volume to the
// system: owner and group SYSTEM, full access for SYSTEM and Administrators, and
// nothing for others, whatever the parent says; for a directory also for what is
// made in it. O:SYG:SYD:P(A;;FA;;;SY)(A;;FA;;;BA), with OICI for directories.
// Without it, what ntfs-3g makes is everybody's.
func Protect(path string, dir bool) error {
	if err := unix.Lsetxattr(path, aclAttribute, protected(dir), 0); err != nil {
		return fmt.Errorf("security descriptor of %s: %w", path, err)
	}
	return nil
}

// protected is a descriptor of 96 bytes: [MS-DTYP] 2.4.6 SECURITY_DESCRIPTOR,
// 2.4.5 ACL, 2.4.4.2 ACCESS_ALLOWED_ACE, 2.4.2.2 SID.
func protected(dir bool) []byte {
	const (
		header     = 20
		control    = 0x8000 | 0x1000 | 0x0004 // self-relative, DACL protected and present
		inherit    = 0x01 | 0x02              // OBJECT_INHERIT_ACE, CONTAINER_INHERIT_ACE
		fullAccess = 0x1f01ff                 // FILE_ALL_ACCESS
	)
	le := binary.LittleEndian
	sid := func(sub ...uint32) []byte {
		b := []byte{1, byte(len(sub)), 0, 0, 0, 0, 0, 5} // S-1-5
		for _, s := range sub {
			b = le.AppendUint32(b, s)
		}
		return b
	}
	system, administrators := sid(18), sid(32, 544)
	var aces []byte
	for _, who := range [][]byte{system, administrators} {
		flags := byte(0)
		if dir {
			flags = inherit
		}
		aces = append(aces, 0, flags)
		aces = le.AppendUint16(aces, uint16(8+len(who)))
		aces = le.AppendUint32(aces, fullAccess)
		aces = append(aces, who...)
	}
	size := 8 + len(aces)
	b := []byte{1, 0}
	b = le.AppendUint16(b, control)
	b = le.AppendUint32(b, uint32(header+size))             // owner
	b = le.AppendUint32(b, uint32(header+size+len(system))) // group
	b = le.AppendUint32(b, 0)                               // no SACL
	b = le.AppendUint32(b, header)
	b = append(b, 2, 0)
	b = le.AppendUint16(b, uint16(size))
	b = le.AppendUint32(b, 2) // ACEs
	b = append(b, aces...)
	b = append(b, system...)
	return append(b, system...)
}

// maxACL is more than a security descriptor of a file has, in bytes.
const maxACL = 64 << 10

// ACL gives the security descriptor of a file or directory of a mounted volume,
// self-relative.
func ACL(path string) ([]byte, error) {
	b := make([]byte, maxACL)
	n, err := unix.Lgetxattr(path, aclAttribute, b)
	if err != nil {
		return nil, fmt.Errorf("security descriptor of %s: %w", path, err)
	}
	return b[:n], nil
}

// NoSpace reports whether an error is that the volume is full.
func NoSpace(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
