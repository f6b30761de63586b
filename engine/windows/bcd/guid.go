package bcd

import (
	"fmt"

	"github.com/google/uuid"
)

// GUID identifies an object, a disk or a partition.
type GUID = uuid.UUID

// Objects with fixed identifiers.
var (
	BootMgr              = uuid.MustParse("9dea862c-5cdd-4e70-acc1-f32b344d4795")
	FWBootMgr            = uuid.MustParse("a5a30fa2-3d06-4e9f-b5f4-a01df9d1fcba")
	MemDiag              = uuid.MustParse("b2721d73-1db4-4c62-bf78-c548a880142d")
	NTLDR                = uuid.MustParse("466f5a88-0af2-4f76-9038-095b170dc21c")
	CurrentEntry         = uuid.MustParse("fa926493-6f1c-4193-a414-58f0b2456d1e")
	DefaultEntry         = uuid.MustParse("1cae1eb7-a0df-4d4d-9851-4860e34ef535")
	GlobalSettings       = uuid.MustParse("7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e")
	BootLoaderSettings   = uuid.MustParse("6efb52bf-1766-41db-a6b3-0ee5eff72bd7")
	ResumeLoaderSettings = uuid.MustParse("1afa9c49-16ab-4a5c-901b-212802da9460")
	HypervisorSettings   = uuid.MustParse("7ff607e0-4395-11db-b0de-0800200c9a66")
	DebuggerSettings     = uuid.MustParse("4636856e-540f-4170-a130-a84776f4c654")
	EMSSettings          = uuid.MustParse("0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9")
	BadMemory            = uuid.MustParse("5189b25c-5558-4bf2-bca4-289b11bd29e2")
	RAMDiskOptions       = uuid.MustParse("ae5534e0-a924-466c-b836-758539a3ee3a")
)

var objectNames = map[GUID]string{
	BootMgr:              "{bootmgr}",
	FWBootMgr:            "{fwbootmgr}",
	MemDiag:              "{memdiag}",
	NTLDR:                "{ntldr}",
	CurrentEntry:         "{current}",
	DefaultEntry:         "{default}",
	GlobalSettings:       "{globalsettings}",
	BootLoaderSettings:   "{bootloadersettings}",
	ResumeLoaderSettings: "{resumeloadersettings}",
	HypervisorSettings:   "{hypervisorsettings}",
	DebuggerSettings:     "{dbgsettings}",
	EMSSettings:          "{emssettings}",
	BadMemory:            "{badmemory}",
	RAMDiskOptions:       "{ramdiskoptions}",
}

// Name is what bcdedit calls an object: a word, or the identifier, in braces.
func Name(id GUID) string {
	if name, ok := objectNames[id]; ok {
		return name
	}
	return Braced(id)
}

// Braced is an identifier as stores write it.
func Braced(id GUID) string { return "{" + id.String() + "}" }

// parseBraced is the inverse of Braced, for text of either case.
func parseBraced(s string) (GUID, error) {
	if len(s) != 38 || s[0] != '{' || s[37] != '}' {
		return GUID{}, fmt.Errorf("%.60q is not an identifier in braces", s)
	}
	return uuid.Parse(s[1:37])
}

// In binary the first three fields of an identifier are little-endian.

func appendGUID(b []byte, id GUID) []byte {
	b = append(b, id[3], id[2], id[1], id[0], id[5], id[4], id[7], id[6])
	return append(b, id[8:]...)
}

func readGUID(b []byte) GUID {
	id := GUID{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]}
	copy(id[8:], b[8:16])
	return id
}
