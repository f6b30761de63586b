package pvstarget

// Facts is what was found in an image.
type Facts struct {
	// Partition is the number, from 1, of the one that holds Windows, and Offset
	// and SizeBytes its place on the disk, in bytes.
	Partition int   `json:"partition"`
	Offset    int64 `json:"offset"`
	SizeBytes int64 `json:"sizeBytes"`
	// FreeBytes is the room left on that volume.
	FreeBytes int64 `json:"freeBytes"`

	// Product, Build and Server are which Windows it is; Build is 0 if the registry
	// has no number there.
	Product string `json:"product"`
	Build   int    `json:"build"`
	Server  bool   `json:"server,omitempty"`
	// Arch is the processor that its kernel is for: x64, x86, arm64, another PE
	// machine as 0x…, or "" if there is no kernel.
	Arch string `json:"arch"`

	// Version, DisplayName and ProductCode ({GUID}) are those of the PVS target
	// software in the list of installed programs; the newest if it is there more
	// than once. All are "" if it is not.
	Version     string `json:"version,omitempty"`
	DisplayName string `json:"displayName,omitempty"`
	ProductCode string `json:"productCode,omitempty"`
	// Broken is how the list of installed programs and Windows Installer contradict
	// each other about it; "" if they agree.
	Broken string `json:"broken,omitempty"`
	// Services are those looked for that are there, and Files those that are there
	// with something in them, as they were asked for.
	Services []Service `json:"services,omitempty"`
	Files    []string  `json:"files,omitempty"`

	// PendingReboot are the reasons for which Windows wants to be started anew.
	PendingReboot []string `json:"pendingReboot,omitempty"`
	// SetupPending is why the next start of Windows goes on with its set-up; "" if
	// it does not.
	SetupPending string `json:"setupPending,omitempty"`
	// NICs are the network adapters that Windows knows on the PCI bus, also those
	// that are gone: device\instance, such as VEN_15AD&DEV_07B0&…\4&2b0b….
	NICs []string `json:"nics,omitempty"`

	// Warnings are for people.
	Warnings []string `json:"warnings,omitempty"`
}

// Service is a service of the control set that Windows starts with.
type Service struct {
	Name string `json:"name"`
	// Start is how it is started (SERVICE_…_START: 0 at boot to 4 disabled); -1 if
	// the registry does not say.
	Start int `json:"start"`
	// File is the path of its driver or program on the volume, and HasFile says that
	// there is something in it.
	File    string `json:"file,omitempty"`
	HasFile bool   `json:"hasFile"`
	// Deleted says that Windows removes it when it starts next.
	Deleted bool `json:"deleted,omitempty"`
}

// works reports whether there is anything to start.
func (s Service) works() bool { return s.HasFile && !s.Deleted }

// What Inspect looks for, if it is not told: the name of Citrix's software, and
// its drivers and services.
const DefaultNamePattern = `^Citrix Provisioning( Services)? Target Device`

// DefaultServices gives the names of the services that are looked for.
func DefaultServices() []string { return []string{"bnistack", "BNDevice", "CFsDep2", "CVhdMp"} }

// Options says what to look for.
type Options struct {
	// NamePattern is a regular expression (RE2) for the DisplayName of the
	// software; "" is DefaultNamePattern.
	NamePattern string
	// Services are looked for, besides DefaultServices.
	Services []string
	// Files are paths as in Windows: with a letter, which is taken for that of the
	// Windows' volume, or a variable such as %ProgramFiles%.
	Files []string
}

// maxText bounds, in characters, each text that is taken from the image, and
// maxListed the length of each list.
const (
	maxText   = 200
	maxListed = 256
)

// shorten bounds a text of the image.
func shorten(s string) string {
	n := 0
	for i := range s {
		if n == maxText {
			return s[:i] + "…"
		}
		n++
	}
	return s
}
