package job

// Code names one kind of refusal or failure. Codes are part of the API: they
// are the failure types in Temporal, the codes of the HTTP API and what the
// error catalogue is sorted by. All but the transient ones are never retried.
type Code string

// What is wrong with the request.
const (
	BadRequest            Code = "BAD_REQUEST"             // the body is not a valid request
	UnsupportedOperation  Code = "UNSUPPORTED_OPERATION"   // this release does not perform the operation
	UnknownPlatform       Code = "UNKNOWN_PLATFORM"        // the worker has no driver of that name
	WrongResourceLocation Code = "WRONG_RESOURCE_LOCATION" // started on another queue than its resource location's
	UnknownCredential     Code = "UNKNOWN_CREDENTIAL"      // the wallet gives no usable credential of that id
	CredentialNotForHost  Code = "CREDENTIAL_NOT_FOR_HOST" // it names the hosts that it is for, and this is none of them
	WalletUnavailable     Code = "WALLET_UNAVAILABLE"      // the wallet does not answer (retried for a while)
	AlreadyRunning        Code = "ALREADY_RUNNING"         // the image has a running job
)

// What is wrong with the share or the output.
const (
	ShareUnreachable Code = "SHARE_UNREACHABLE" // no answer from the SMB server (retried for a while)
	ShareAuthFailed  Code = "SHARE_AUTH_FAILED" // user name or password refused
	ShareNotFound    Code = "SHARE_NOT_FOUND"   // the server has no such share or folder
	ShareDenied      Code = "SHARE_DENIED"      // logged on, but not permitted
	ShareIO          Code = "SHARE_IO"          // a read or write failed (retried for a while)
	ShareFull        Code = "SHARE_FULL"        // no space left
	ImageNotFound    Code = "IMAGE_NOT_FOUND"
	OutputExists     Code = "OUTPUT_EXISTS"
	OutputTooSmall   Code = "OUTPUT_TOO_SMALL"   // outputSizeMb is less than the image's virtual size
	OutputInUse      Code = "OUTPUT_IN_USE"      // another job writes the same output
	ImageLocked      Code = "IMAGE_LOCKED"       // PVS has it in use: there is a .lok beside it
	NotLatestVersion Code = "NOT_LATEST_VERSION" // a new version can only follow the last one
	ManifestInvalid  Code = "MANIFEST_INVALID"   // of the vDisk's versions
)

// What is wrong with the image as a virtual disk.
const (
	WrongFormat       Code = "WRONG_FORMAT" // the signature is not that of the format asked for
	DiskCorrupt       Code = "DISK_CORRUPT"
	DiskDirtyLog      Code = "DISK_DIRTY_LOG" // VHDX whose log must be replayed
	UnsupportedDisk   Code = "UNSUPPORTED_DISK"
	UnsupportedLayout Code = "UNSUPPORTED_LAYOUT"
	SourceChanged     Code = "SOURCE_CHANGED" // the image changed while the job ran
)

// What is wrong with the Windows in the image.
const (
	AlreadyGPT             Code = "ALREADY_GPT"
	NoMBR                  Code = "NO_MBR"
	BadPartitionTable      Code = "BAD_PARTITION_TABLE"
	DynamicDisk            Code = "DYNAMIC_DISK"
	UnknownPartitionType   Code = "UNKNOWN_PARTITION_TYPE"
	NoActivePartition      Code = "NO_ACTIVE_PARTITION"
	MultipleActive         Code = "MULTIPLE_ACTIVE_PARTITIONS"
	NoSpaceForESP          Code = "NO_SPACE_FOR_ESP"
	NoRoomForGPT           Code = "NO_ROOM_FOR_GPT"
	ShrinkBlocked          Code = "SHRINK_BLOCKED" // a volume cannot be made as small as it must be
	BitLocker              Code = "BITLOCKER"
	NTFSDirty              Code = "NTFS_DIRTY"
	NTFSCorrupt            Code = "NTFS_CORRUPT"
	Hibernated             Code = "HIBERNATED"
	NoWindows              Code = "NO_WINDOWS"
	MultipleWindows        Code = "MULTIPLE_WINDOWS"
	NotX64                 Code = "NOT_X64"
	OSTooOld               Code = "OS_TOO_OLD"
	MissingBootFile        Code = "MISSING_BOOT_FILE"
	CompressedBootFile     Code = "COMPRESSED_BOOT_FILE"
	BootFilesTooBig        Code = "BOOT_FILES_TOO_BIG"
	NoBCD                  Code = "NO_BCD"
	BCDCorrupt             Code = "BCD_CORRUPT"
	NoDefaultEntry         Code = "NO_DEFAULT_ENTRY"
	DefaultOnOtherDisk     Code = "DEFAULT_ON_OTHER_DISK"
	HiveDirty              Code = "HIVE_DIRTY"
	HiveCorrupt            Code = "HIVE_CORRUPT"
	HiveNoSpace            Code = "HIVE_NO_SPACE"
	FileNotEditableInPlace Code = "FILE_NOT_EDITABLE"
	NativeDriversMissing   Code = "NATIVE_DRIVERS_MISSING" // Windows has no driver for a disk of the platform
	SetupPending           Code = "SETUP_PENDING"          // Windows is generalized, or its set-up has not ended
	WindowsFull            Code = "WINDOWS_FULL"           // too little room on its volume
)

// What is wrong with the PVS target software in the image, or its installer.
const (
	CatalogueInvalid      Code = "CATALOGUE_INVALID"
	InstallerNotFound     Code = "INSTALLER_NOT_FOUND"     // the catalogue has none for that version
	InstallerHashMismatch Code = "INSTALLER_HASH_MISMATCH" // the file is not the one in the catalogue
	LeftoverRunner        Code = "LEFTOVER_RUNNER"         // an earlier upgrade has left something of ours
	PVSNotInstalled       Code = "PVS_NOT_INSTALLED"
	PVSDowngrade          Code = "PVS_DOWNGRADE"           // what is installed is newer
	PVSTooOld             Code = "PVS_TOO_OLD"             // to be upgraded in place
	PVSRegistrationBroken Code = "PVS_REGISTRATION_BROKEN" // Windows Installer does not know what is installed
)

// What went wrong in the guest.
const (
	GuestNotStarted    Code = "GUEST_NOT_STARTED" // its Windows never ran our runner
	GuestTimeout       Code = "GUEST_TIMEOUT"     // still on at the deadline
	InstallerFailed    Code = "INSTALLER_FAILED"
	InstallerHung      Code = "INSTALLER_HUNG"
	TooManyBoots       Code = "TOO_MANY_BOOTS"
	UpgradeNotVerified Code = "UPGRADE_NOT_VERIFIED" // it was reported to have succeeded, and the image says otherwise
)

// What went wrong on the way.
const (
	VerifyFailed    Code = "VERIFY_FAILED"    // the output, read back, is not what was planned
	BootFailed      Code = "BOOT_FAILED"      // firmware did not start the output's boot manager
	ToolFailed      Code = "TOOL_FAILED"      // a program that the job needs failed
	ToolMissing     Code = "TOOL_MISSING"     // or is not installed
	CENeverCame     Code = "CE_NEVER_CAME"    // the Compositing Engine did not enrol in time
	CELost          Code = "CE_LOST"          // the Compositing Engine vanished, and so did its successors
	PlatformError   Code = "PLATFORM_ERROR"   // the platform failed (retried for a while)
	PlatformFull    Code = "PLATFORM_FULL"    // quota, space or capacity is used up (retried for a while)
	PlatformRefused Code = "PLATFORM_REFUSED" // the platform will not do it, however often it is asked
	CleanupFailed   Code = "CLEANUP_FAILED"   // something may have been left behind
	Internal        Code = "INTERNAL"         // a defect of ours
)

// What a question about a job may be answered with.
const (
	JobNotFound         Code = "JOB_NOT_FOUND"
	JobEnded            Code = "JOB_ENDED"            // it cannot be cancelled any more
	JobCanceled         Code = "JOB_CANCELED"         // there is no result
	JobTerminated       Code = "JOB_TERMINATED"       // ended from outside, without clean-up
	JobRunning          Code = "JOB_RUNNING"          // it has no result yet
	TemporalUnreachable Code = "TEMPORAL_UNREACHABLE" // no answer from the Temporal server
)

// What the HTTP API may answer besides.
const (
	Unauthenticated Code = "UNAUTHENTICATED"   // no token, or not one that is known
	Forbidden       Code = "FORBIDDEN"         // known, but not permitted
	NoSuchRoute     Code = "NO_SUCH_ROUTE"     // no such path, or not by that method
	TooManyRequests Code = "TOO_MANY_REQUESTS" // more at a time than the server takes
)

// Transient reports whether another attempt may succeed without anybody
// changing anything.
func (c Code) Transient() bool {
	switch c {
	case WalletUnavailable, ShareUnreachable, ShareIO, PlatformError, PlatformFull, TemporalUnreachable, TooManyRequests, "":
		return true
	}
	return false
}
