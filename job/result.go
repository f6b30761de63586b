package job

import (
	"encoding/json"
	"time"
)

// Result is what a completed convertToUefi job made or, of a dry run, would
// make: that has no output, sizes or checksum, but the plan.
type Result struct {
	DryRun     bool   `json:"dryRun,omitempty"`
	Output     string `json:"output"` // UNC path
	OutputFile string `json:"outputFile"`
	SizeBytes  int64  `json:"sizeBytes,omitempty"`
	SHA256     string `json:"sha256,omitempty"` // of the output file
	// ID is what children of the output will know it by: the data write GUID
	// of a VHDX, the unique ID of a VHD.
	ID               string `json:"id,omitempty"`
	VirtualSizeBytes int64  `json:"virtualSizeBytes"`
	ChangedBytes     int64  `json:"changedBytes,omitempty"` // guest-visible, in pages of 4 KiB
	Parent           Parent `json:"parent"`

	DiskGUID       string       `json:"diskGuid"`
	ESPPlacement   ESPPlacement `json:"espPlacement"`
	Partitions     []Partition  `json:"partitions"`
	WindowsProduct string       `json:"windowsProduct"`
	WindowsBuild   int          `json:"windowsBuild"`
	PVSTarget      string       `json:"pvsTarget,omitempty"` // version of the software in the image
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
