package catalogue

import (
	"fmt"
	"slices"
	"strings"

	"imageport/engine/windows/pvstarget"
	"imageport/firstboot/plan"
	"imageport/job"
)

// FileName is the catalogue in its folder.
const FileName = "catalogue.json"

// ProductPVSTarget is the PVS target device software: the only product so far.
const ProductPVSTarget = "pvs-target"

// The processors of Windows.
const (
	ArchX64   = "x64"
	ArchX86   = "x86"
	ArchARM64 = "arm64"
)

// Catalogue is the content of catalogue.json.
type Catalogue struct {
	Installers []Installer `json:"installers"`
	// Warnings are what Parse did not understand, such as keys that it does not
	// know.
	Warnings []string `json:"-"`
}

// Installer is one version of a product for one processor. What catalogue.json
// leaves out has the value of defaults.
type Installer struct {
	Product string `json:"product"`
	// Version is what requests name, such as "2311".
	Version string `json:"version"`
	// Arch is that of the Windows that it is for: ArchX64, …
	Arch string `json:"arch"`
	// File is a path below the catalogue's folder, '/'-separated.
	File string `json:"file"`
	// SHA256 is the hash of the file, in lower-case hexadecimal.
	SHA256 string `json:"sha256"`
	// ProductVersion is what the registry must say afterwards, in all the numbers
	// that it has: that of the file's version resource, such as "7.41.100.62".
	ProductVersion string `json:"productVersion"`
	// Args follow the program, or the package of msiexec. %variables% of the
	// guest are expanded.
	Args string `json:"args"`
	// The exit codes; a code is in one list at most, and all others are failures.
	// Codes from 2^31 may be written as negative numbers.
	OKCodes     []int `json:"okCodes"`
	RebootCodes []int `json:"rebootCodes"`
	RetryCodes  []int `json:"retryCodes"`
	// TimeoutMinutes is how long it may run.
	TimeoutMinutes int `json:"timeoutMinutes"`
	// Session is plan.SessionConsole or plan.SessionService.
	Session string `json:"session"`
	// Signer is who has signed the file, for people.
	Signer string `json:"signer,omitempty"`
	// MinFrom is the oldest version that it upgrades in place, "" for any.
	MinFrom string `json:"minFrom,omitempty"`
	Verify  Verify `json:"verify"`
	// Prerequisites are run before it, in order: the guest has no network.
	Prerequisites []Prerequisite `json:"prerequisites,omitempty"`
	// Repair are command lines that are run after it, in order, with a few minutes
	// for each. That one fails is noted only: Verify judges.
	Repair []string `json:"repair,omitempty"`
}

// Verify is what must be in the image after the upgrade.
type Verify struct {
	// DisplayName is a regular expression (RE2) for the product's name in the list
	// of installed programs.
	DisplayName string `json:"displayName"`
	// Services must be there. Without any, it is those of the product that were
	// there before the upgrade: a fixed list would be wrong for some version.
	Services []string `json:"services,omitempty"`
	// Files must be there, by their paths on C:.
	Files []string `json:"files,omitempty"`
}

// Prerequisite is an installer of something else that the installer needs.
type Prerequisite struct {
	// Name is for people, by default that of the file.
	Name           string `json:"name"`
	File           string `json:"file"`
	SHA256         string `json:"sha256"`
	Args           string `json:"args"`
	OKCodes        []int  `json:"okCodes"`
	RebootCodes    []int  `json:"rebootCodes"`
	TimeoutMinutes int    `json:"timeoutMinutes"`
	Session        string `json:"session"`
}

// DisplayNamePattern is the PVS target device software in the list of installed
// programs: "Provisioning Services" until 7.x, "Provisioning" since.
const DisplayNamePattern = pvstarget.DefaultNamePattern

// The exit codes of Windows Installer.
const (
	codeOK              = 0
	codeRebootInitiated = 1641 // ERROR_SUCCESS_REBOOT_INITIATED
	codeAnotherRuns     = 1618 // ERROR_INSTALL_ALREADY_RUNNING
	codeRebootRequired  = 3010 // ERROR_SUCCESS_REBOOT_REQUIRED
)

const (
	defaultTimeoutMinutes = 45
	// msiLog is the log of Windows Installer. The path has no spaces: it goes
	// between the quotes of an argument.
	msiLog = plan.Folder + `\` + plan.LogDir + `\pvs-msi.log`
	// msiArgs do not ask, do not reboot by themselves, and log.
	msiArgs = "/qn /norestart /l*v " + msiLog
	// setupArgs are for InstallShield, which hands what is after /v to Windows
	// Installer.
	setupArgs = `/S /v"` + msiArgs + `"`
)

// defaults gives what catalogue.json need not say.
func defaults() Installer {
	return Installer{
		Product: ProductPVSTarget, Arch: ArchX64, Args: setupArgs,
		OKCodes: []int{codeOK}, RebootCodes: []int{codeRebootRequired, codeRebootInitiated}, RetryCodes: []int{codeAnotherRuns},
		TimeoutMinutes: defaultTimeoutMinutes, Session: plan.SessionConsole,
		Verify: Verify{DisplayName: DisplayNamePattern},
	}
}

// prerequisiteDefaults is the same for a prerequisite. There are no arguments
// that all would understand.
func prerequisiteDefaults() Prerequisite {
	in := defaults()
	return Prerequisite{OKCodes: in.OKCodes, RebootCodes: in.RebootCodes, TimeoutMinutes: in.TimeoutMinutes, Session: in.Session}
}

// String is how messages name it: "pvs-target 2311 (x64)".
func (in Installer) String() string {
	return fmt.Sprintf("%s %s (%s)", in.Product, in.Version, in.Arch)
}

// is reports whether it is what a request means by product and version.
func (in Installer) is(product, version, arch string) bool {
	return strings.EqualFold(in.Product, product) && strings.EqualFold(in.Version, strings.TrimSpace(version)) && in.Arch == arch
}

// Find gives the installer of a version of a product for a processor. The
// version is compared without regard to case and surrounding space; that of the
// product finds it, too, if no other is called so. The error is
// job.InstallerNotFound.
func (c *Catalogue) Find(product, version, arch string) (Installer, error) {
	for _, in := range c.Installers {
		if in.is(product, version, arch) {
			return in, nil
		}
	}
	for _, in := range c.Installers {
		if in.is(product, in.Version, arch) && sameVersion(version, in.ProductVersion) && sameVersion(in.ProductVersion, version) {
			return in, nil
		}
	}
	const remedy = `Ask for one of these, or add the installer with "imageport catalogue add"`
	var there, others []string
	for _, in := range c.Installers {
		switch {
		case !strings.EqualFold(in.Product, product):
		case in.Arch == arch:
			there = append(there, in.Version)
		case in.is(product, version, in.Arch):
			others = append(others, in.Arch)
		}
	}
	slices.Sort(there)
	list := "none"
	if len(there) > 0 {
		list = strings.Join(there, ", ")
	}
	if len(others) > 0 {
		return Installer{}, job.Errorf(job.InstallerNotFound, remedy, "the catalogue has %s %s for %s only; for a Windows of %s it has %s",
			product, strings.TrimSpace(version), strings.Join(others, ", "), arch, list)
	}
	return Installer{}, job.Errorf(job.InstallerNotFound, remedy, "the catalogue has no installer of %s %q for a Windows of %s; it has %s",
		product, strings.TrimSpace(version), arch, list)
}

// sameVersion reports whether a version has all the numbers of another, as the
// runner compares them in the guest.
func sameVersion(have, want string) bool {
	return plan.Detect{Version: want}.Holds([]plan.Product{{Name: ProductPVSTarget, Version: strings.TrimSpace(have)}})
}
