package job

import (
	"encoding/json"
	"time"
)

// Result is what a completed job made or, of a dry run, would make: that has
// no checksum or size of a file, but the plan.
type Result struct {
	DryRun bool `json:"dryRun,omitempty"`
	// Output is the UNC path of a file on a share, or the name that the platform
	// has for a disk.
	Output     string `json:"output"`
	OutputFile string `json:"outputFile,omitempty"`
	SizeBytes  int64  `json:"sizeBytes,omitempty"` // of the file, or of the disk that a VM sees
	SHA256     string `json:"sha256,omitempty"`    // of the output file
	// ID is what children of the output will know it by: the data write GUID
	// of a VHDX, the unique ID of a VHD.
	ID               string `json:"id,omitempty"`
	VirtualSizeBytes int64  `json:"virtualSizeBytes"`
	ChangedBytes     int64  `json:"changedBytes,omitempty"` // guest-visible, in pages of 4 KiB
	Parent           Parent `json:"parent,omitzero"`

	DiskGUID       string       `json:"diskGuid,omitempty"`
	ESPPlacement   ESPPlacement `json:"espPlacement,omitempty"`
	Partitions     []Partition  `json:"partitions,omitempty"`
	WindowsProduct string       `json:"windowsProduct,omitempty"`
	WindowsBuild   int          `json:"windowsBuild,omitempty"`
	PVSTarget      string       `json:"pvsTarget,omitempty"` // version of the software in the image

	// Source are the files that a reverseImage job read, from the base to the
	// image itself.
	Source []Parent `json:"source,omitempty"`
	// CRC32C (Castagnoli) of the image's VirtualSizeBytes, in hexadecimal.
	CRC32C string `json:"crc32c,omitempty"`
	// Firmware is what the disk starts from, and Controllers are those that its
	// Windows has a driver for, the best one for the platform first.
	Firmware    Firmware     `json:"firmware,omitempty"`
	Controllers []Controller `json:"controllers,omitempty"`
	// FixUps are the differences between the disk and the image.
	FixUps []FixUp `json:"fixups,omitempty"`
	// Upgrade is what an upgradePvs job installed.
	Upgrade *Upgrade `json:"upgrade,omitempty"`
	// VM is what the platform calls the VM that was left around the disk.
	VM string `json:"vm,omitempty"`
	// ResumedBytes were copied by a try before the last one.
	ResumedBytes int64 `json:"resumedBytes,omitempty"`

	// VerifiedBytes were read back from the disk.
	VerifiedBytes int64 `json:"verifiedBytes,omitempty"`

	// Plan is everything that the conversion changes, of a dry run.
	Plan json.RawMessage `json:"plan,omitempty"`

	// Verification is what was found when the output was read back.
	Verification *Verification `json:"verification,omitempty"`
	// Boot is how far firmware got with the output, where verify was "boot".
	Boot *BootProof `json:"boot,omitempty"`
	// PVS is what to do with the output in Citrix Provisioning.
	PVS *PVSSteps `json:"pvs,omitempty"`

	BytesRead          int64    `json:"bytesRead,omitempty"`    // from the share, by the CE
	BytesWritten       int64    `json:"bytesWritten,omitempty"` // to the share, by the CE
	Warnings           []string `json:"warnings,omitempty"`
	CompositingEngines int      `json:"compositingEngines"` // how many it took: more than 1 when one was lost
}

// Parent is the image that a differencing disk depends on.
type Parent struct {
	File      string    `json:"file"`
	SizeBytes int64     `json:"sizeBytes"`
	Modified  time.Time `json:"modified"`
	ID        string    `json:"id"` // as in Result
}

// Partition is one partition of the output.
type Partition struct {
	Number     int    `json:"number"` // from 1
	Name       string `json:"name"`
	Type       string `json:"type"` // GUID
	ID         string `json:"id"`   // GUID
	StartBytes int64  `json:"startBytes"`
	SizeBytes  int64  `json:"sizeBytes"`
	// Windows marks C:.
	Windows bool `json:"windows,omitempty"`
}

// Upgrade is an installation of PVS target software in a copy of a vDisk.
type Upgrade struct {
	From string `json:"from"` // version in the image
	To   string `json:"to"`   // version in the output, as its registry says
	// Installer is the file in the catalogue, and its SHA-256.
	Installer string `json:"installer"`
	SHA256    string `json:"sha256"`
	// Skipped says that the image has that version already, and nothing was made.
	Skipped bool `json:"skipped,omitempty"`
	// Boots is how often Windows started, Guests how often the machine was
	// switched on.
	Boots  int           `json:"boots,omitempty"`
	Guests int           `json:"guests,omitempty"`
	Steps  []UpgradeStep `json:"steps,omitempty"`
	// Removed is what was put into the image for the installation and taken out of
	// it again.
	Removed []FixUp `json:"removed,omitempty"`
}

// UpgradeStep is a program that ran in the guest.
type UpgradeStep struct {
	Name     string  `json:"name"`
	ExitCode *int    `json:"exitCode,omitempty"`
	Attempts int     `json:"attempts"`
	Seconds  float64 `json:"seconds"`
	Note     string  `json:"note,omitempty"`
}

// FixUp is one thing that was changed on a disk so that it starts.
type FixUp struct {
	// What was changed: a value of the registry, a file, a structure of the disk.
	What string `json:"what"`
	// Old and New are what was there, "" if nothing was, and what is.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
	// Why is for people.
	Why string `json:"why"`
}
