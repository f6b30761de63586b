package bcd

import "fmt"

// ObjectType says what an object is: 4 bits class, and for applications 4 bits
// image type at 20 and the application's code below.
type ObjectType uint32

const (
	TypeFirmwareBootMgr ObjectType = 0x10100001
	TypeFirmwareApp     ObjectType = 0x101fffff // an entry of the firmware's own boot menu
	TypeBootMgr         ObjectType = 0x10100002
	TypeOSLoader        ObjectType = 0x10200003
	TypeResume          ObjectType = 0x10200004
	TypeMemDiag         ObjectType = 0x10200005
	TypeNTLDR           ObjectType = 0x10300006
	TypeBootSector      ObjectType = 0x10400008
	TypeStartup         ObjectType = 0x10400009
	TypeInherit         ObjectType = 0x20100000
	TypeInheritOSLoader ObjectType = 0x20200003
	TypeInheritResume   ObjectType = 0x20200004
	TypeDevice          ObjectType = 0x30000000 // options of a device
)

const (
	classApplication = 1
	classInherit     = 2

	imageWindows  = 2 // a Windows boot application, found by a device and a path
	imageNTLDR    = 3
	imageRealMode = 4

	appOSLoader = 3
	appResume   = 4
)

func (t ObjectType) class() uint32 { return uint32(t) >> 28 }
func (t ObjectType) image() uint32 { return uint32(t) >> 20 & 0xf }
func (t ObjectType) app() uint32   { return uint32(t) & 0xfffff }

// Legacy reports whether an object needs a BIOS: it loads an older Windows or a
// boot sector.
func (t ObjectType) Legacy() bool {
	return t.class() == classApplication && (t.image() == imageNTLDR || t.image() == imageRealMode)
}

// loads reports whether an object, or those that inherit from it, is an
// operating system loader or its resume application.
func (t ObjectType) loads() bool {
	return (t.class() == classApplication || t.class() == classInherit) && t.image() == imageWindows &&
		(t.app() == appOSLoader || t.app() == appResume)
}

// ElementID names an element: 4 bits class (1 library, 2 application, 3 device,
// 4 template), 4 bits format, 24 bits that mean different things to different
// kinds of objects.
type ElementID uint32

// Format is how the data of an element is stored.
type Format uint32

const (
	FormatDevice     Format = 1
	FormatString     Format = 2
	FormatObject     Format = 3
	FormatObjectList Format = 4
	FormatInteger    Format = 5
	FormatBoolean    Format = 6
	FormatIntList    Format = 7
)

// Format is part of the element's number.
func (e ElementID) Format() Format { return Format(e >> 24 & 0xf) }

// Elements that this package or the builders of stores name.
const (
	ElementDevice           ElementID = 0x11000001
	ElementPath             ElementID = 0x12000002
	ElementDescription      ElementID = 0x12000004
	ElementLocale           ElementID = 0x12000005
	ElementInherit          ElementID = 0x14000006
	ElementRecoverySequence ElementID = 0x14000008
	ElementDebugType        ElementID = 0x15000011
	ElementDebugPort        ElementID = 0x15000013
	ElementBaudRate         ElementID = 0x15000014
	ElementDisplayMessage   ElementID = 0x15000065
	ElementDisplayOverride  ElementID = 0x15000066
	ElementRecoveryEnabled  ElementID = 0x16000009
	ElementBadMemoryAccess  ElementID = 0x1600000b
	ElementBootEMS          ElementID = 0x16000020
	ElementIsolatedContext  ElementID = 0x16000060 // on UEFI systems only
	ElementAllowedInMemory  ElementID = 0x17000077

	ElementOSDevice       ElementID = 0x21000001 // loaders
	ElementFileDevice     ElementID = 0x21000001 // resume applications
	ElementSystemRoot     ElementID = 0x22000002 // loaders
	ElementFilePath       ElementID = 0x22000002 // resume applications
	ElementDefault        ElementID = 0x23000003 // boot managers
	ElementResumeObject   ElementID = 0x23000003 // loaders
	ElementManagerResume  ElementID = 0x23000006 // boot managers
	ElementDisplayOrder   ElementID = 0x24000001
	ElementBootSequence   ElementID = 0x24000002
	ElementToolsOrder     ElementID = 0x24000010
	ElementTimeout        ElementID = 0x25000004
	ElementResumeMenu     ElementID = 0x25000008 // resume applications
	ElementNX             ElementID = 0x25000020
	ElementBootMenuPolicy ElementID = 0x250000c2
	ElementHypervisorType ElementID = 0x250000f3
	ElementHypervisorPort ElementID = 0x250000f4
	ElementHypervisorBaud ElementID = 0x250000f5
	ElementDebugOption    ElementID = 0x26000006 // resume applications
	ElementDetectHAL      ElementID = 0x26000010
	ElementWinPE          ElementID = 0x26000022

	ElementSDIDevice ElementID = 0x31000003
	ElementSDIPath   ElementID = 0x32000004
)

var elementNames = map[ElementID]string{
	ElementDevice:           "device",
	ElementPath:             "path",
	ElementDescription:      "description",
	ElementLocale:           "locale",
	ElementInherit:          "inherit",
	ElementRecoverySequence: "recoverysequence",
	ElementDebugType:        "debugtype",
	ElementDebugPort:        "debugport",
	ElementBaudRate:         "baudrate",
	ElementDisplayMessage:   "displaymessage",
	ElementDisplayOverride:  "displaymessageoverride",
	ElementRecoveryEnabled:  "recoveryenabled",
	ElementBadMemoryAccess:  "badmemoryaccess",
	ElementBootEMS:          "bootems",
	ElementIsolatedContext:  "isolatedcontext",
	ElementAllowedInMemory:  "allowedinmemorysettings",
	ElementOSDevice:         "osdevice",
	ElementSystemRoot:       "systemroot",
	ElementResumeObject:     "resumeobject",
	ElementManagerResume:    "resumeobject",
	ElementDisplayOrder:     "displayorder",
	ElementBootSequence:     "bootsequence",
	ElementToolsOrder:       "toolsdisplayorder",
	ElementTimeout:          "timeout",
	ElementResumeMenu:       "bootmenupolicy",
	ElementNX:               "nx",
	ElementBootMenuPolicy:   "bootmenupolicy",
	ElementHypervisorType:   "hypervisordebugtype",
	ElementHypervisorPort:   "hypervisordebugport",
	ElementHypervisorBaud:   "hypervisorbaudrate",
	ElementDebugOption:      "debugoptionenabled",
	ElementDetectHAL:        "detecthal",
	ElementWinPE:            "winpe",
	ElementSDIDevice:        "ramdisksdidevice",
	ElementSDIPath:          "ramdisksdipath",
}

// Name is what bcdedit calls the element of an object of type t, or its number
// in hexadecimal.
func (e ElementID) Name(t ObjectType) string {
	switch {
	case e == ElementDefault && t == TypeBootMgr:
		return "default"
	case e == ElementFileDevice && t == TypeResume:
		return "filedevice"
	case e == ElementFilePath && t == TypeResume:
		return "filepath"
	}
	if name, ok := elementNames[e]; ok {
		return name
	}
	return e.String()
}

// String is the number as the names of keys have it.
func (e ElementID) String() string { return fmt.Sprintf("%08x", uint32(e)) }
