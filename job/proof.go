package job

// Verification is what a verification has found to be right. One that finds
// something wrong is an error.
type Verification struct {
	Checks   []Check   `json:"checks"`
	ESPFiles []ESPFile `json:"espFiles"`
}

// Check is one thing that was looked at.
type Check struct {
	What  string `json:"what"`
	Found string `json:"found"`
}

// ESPFile is a file of the EFI system partition.
type ESPFile struct {
	Path      string `json:"path"` // '/'-separated
	SizeBytes int64  `json:"sizeBytes"`
	SHA256    string `json:"sha256"`
}

// BootProof is how far firmware got with the output, started read-only.
type BootProof struct {
	// Reached is the last of the stages that were seen, Stages all of them.
	Reached string   `json:"reached"`
	Stages  []string `json:"stages"`
	Seconds float64  `json:"seconds"`
	// Console is the end of what firmware wrote to its serial port.
	Console string `json:"console,omitempty"`
	// Screenshot is a PNG of the screen at the end.
	Screenshot []byte `json:"screenshot,omitempty"`
}

// PVSSteps is what makes the output the vDisk's next version.
type PVSSteps struct {
	// Version is the version's number, where the job made a version.
	Version int `json:"version,omitempty"`
	// Files are what the job wrote beside the output, such as the manifest.
	Files []string `json:"files,omitempty"`
	// PowerShell adds and test-promotes the version, to be run on a PVS server.
	PowerShell []string `json:"powerShell"`
	// Targets is what to change on the target devices.
	Targets []string `json:"targets"`
}
