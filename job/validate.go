package job

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// problems gathers what is wrong with a request, so that one answer names all.
type problems []string

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

func (p *problems) require(key, value string) {
	if strings.TrimSpace(value) == "" {
		p.add("%s is missing", key)
	}
}

func (p *problems) port(key string, port int) {
	if port < 0 || port > 65535 {
		p.add("%s %d is not a TCP port", key, port)
	}
}

// choice gives the standard spelling of a value that is the only one that a key
// may have, or "".
func (p *problems) choice(key, value, only string) string {
	switch {
	case value == "":
	case strings.EqualFold(value, only):
		value = only
	default:
		p.add("%s %q is not %s", key, value, only)
	}
	return value
}

func (p *problems) err() error {
	if len(*p) == 0 {
		return nil
	}
	return Errorf(BadRequest, "Correct the request and start the job again", "the request is not valid: %s", strings.Join(*p, "; "))
}

func (r *Request) validate(bad *problems) {
	bad.require("platform", r.Platform)
	r.Platform = CanonicalPlatform(r.Platform)
	if r.Platform != PlatformLocal && r.Platform != PlatformQEMU {
		bad.require("platformCredentialId", r.PlatformCredentialID)
	}
	bad.require("resourceLocationId", r.ResourceLocationID)
	if printable(r.ResourceLocationID) != r.ResourceLocationID {
		bad.add("resourceLocationId %q holds characters that a task queue cannot have", r.ResourceLocationID)
	}
	if t := r.InputStorageLocation.Type; t != "" && !strings.EqualFold(t, "SMB") {
		bad.add("inputStorageLocation.type %q is not SMB", t)
	}
	bad.require("inputStorageLocation.credentialId", r.InputStorageLocation.CredentialID)
	if _, err := r.InputStorageLocation.Folder(); err != nil {
		bad.add("inputStorageLocation: %s", err)
	}
	r.InputImageFormat = cmp.Or(r.InputImageFormat, FormatVHDX)
	switch {
	case strings.EqualFold(string(r.InputImageFormat), string(FormatVHD)):
		r.InputImageFormat = FormatVHD
	case strings.EqualFold(string(r.InputImageFormat), string(FormatVHDX)):
		r.InputImageFormat = FormatVHDX
	default:
		bad.add("inputImageFormat %q is neither %s nor %s", r.InputImageFormat, FormatVHDX, FormatVHD)
	}
	bad.fileName("inputImageFilename", r.InputImageFilename)
	r.Placement.validate(r.Platform, bad)
}

func (r *ReverseImage) validate(bad *problems) {
	r.Request.validate(bad)
	bad.require("outputDiskName", r.OutputDiskName)
	types := []ProvisionType{ProvisionThin, ProvisionThick, ProvisionEagerZeroed}
	given := cmp.Or(r.ProvisionType, ProvisionThin)
	if i := slices.IndexFunc(types, func(t ProvisionType) bool { return strings.EqualFold(string(t), string(given)) }); i >= 0 {
		r.ProvisionType = types[i]
	} else {
		bad.add("provisionType %q is none of %s, %s, %s", given, types[0], types[1], types[2])
	}
	r.FixUps = bad.choice("fixups", r.FixUps, FixUpsNone)
	r.Verify = bad.choice("verify", r.Verify, VerifyFull)
	if r.OverwriteOutput {
		bad.add("overwriteOutput: a disk on a platform is never replaced; remove it, or choose another outputDiskName")
	}
	if r.VMName != "" && !r.CreateVM {
		bad.add("vmName is of use with createVm only")
	}
	if strings.ContainsFunc(r.VMName, unicode.IsControl) || utf8.RuneCountInString(r.VMName) > vmNameLimit {
		bad.add("vmName %q is no name of a VM: want at most %d printable characters", r.VMName, vmNameLimit)
	}
}

// vmNameLimit is how many characters vSphere takes in the name of a VM.
const vmNameLimit = 80

// VM is the name of the VM that is to be left, "" for none.
func (r *ReverseImage) VM() string {
	if !r.CreateVM {
		return ""
	}
	base := r.OutputDiskName[strings.LastIndexAny(r.OutputDiskName, "/]")+1:]
	return cmp.Or(r.VMName, strings.TrimSpace(strings.TrimSuffix(base, path.Ext(base))))
}

// OutputID identifies the output disk: no two jobs may write it.
func (r *ReverseImage) OutputID() string {
	where := r.ResourceLocationID + "/" // its worker's configuration says where
	switch r.Platform {
	case PlatformVSphere:
		where = r.VCenterHost + "/" + r.Datacenter
	case PlatformXenServer:
		where = r.StorageRepositoryUUID
	case PlatformAzure:
		where = r.SubscriptionID + "/" + cmp.Or(r.TargetDiskResourceGroupName, r.ResourceGroup)
	case PlatformGCP: // names are unique in a zone, and it may come to be in several
		where = r.GCPProject
	}
	return printable(strings.ToLower(fmt.Sprintf("disk/%s/%s/%s", r.Platform, where, r.OutputDiskName)))
}

func (r *ConvertToUEFI) validate(bad *problems) {
	r.Request.validate(bad)
	if r.PVSVersion != "" && !strings.EqualFold(r.PVSVersion, PVSNext) {
		bad.add("pvsVersion %q is not %s", r.PVSVersion, PVSNext)
	}
	if r.PVSVersion != "" {
		r.PVSVersion = PVSNext
		if r.OutputImageFilename != "" {
			bad.add("give either outputImageFilename or pvsVersion, which names the output by its version")
		}
		if r.OverwriteOutput {
			bad.add("overwriteOutput does not go with pvsVersion: a new version replaces nothing")
		}
	} else {
		bad.output(&r.Request, r.OutputImageFilename, r.OutputFile())
		bad.pvsReady(&r.Request, r.OutputFile())
	}
	r.Verify = bad.choice("verify", r.Verify, VerifyBoot)
	r.UEFIOptions.validate(bad)
}

func (r *UpgradePVS) validate(bad *problems) {
	r.Request.validate(bad)
	bad.output(&r.Request, r.OutputImageFilename, r.OutputFile())
	bad.pvsReady(&r.Request, r.OutputFile())
	r.UpgradeOptions.validate(bad)
	r.Verify = bad.choice("verify", r.Verify, VerifyFull)
}

// The bounds of a guest.
const (
	maxGuestMinutes = 24 * 60
	minGuestMB      = 1024
	maxGuestMB      = 1 << 20
	maxGuestCPUs    = 128
)

func (o *UpgradeOptions) validate(bad *problems) {
	bad.require("upgradeOptions.installPvs", o.InstallPVS)
	o.NIC = bad.choice("upgradeOptions.nic", o.NIC, NICNone)
	if m := o.TimeoutMinutes; m < 0 || m > maxGuestMinutes {
		bad.add("upgradeOptions.timeoutMinutes is %v: give a number up to %d, or leave it out for %d", m, maxGuestMinutes, DefaultGuestMinutes)
	}
	if m := o.MemoryMB; m != 0 && (m < minGuestMB || m > maxGuestMB) {
		bad.add("upgradeOptions.memoryMb is %d: give a number from %d to %d, or leave it out for %d", m, minGuestMB, maxGuestMB, DefaultGuestMemoryMB)
	}
	if o.CPUs < 0 || o.CPUs > maxGuestCPUs {
		bad.add("upgradeOptions.cpus is %d: give a number up to %d, or leave it out for %d", o.CPUs, maxGuestCPUs, DefaultGuestCPUs)
	}
}

// output checks an output file beside the input.
func (p *problems) output(r *Request, given, file string) {
	p.fileName("outputImageFilename", given)
	if ext := strings.ToLower(path.Ext(file)); strings.HasSuffix(ext, "vhd") != (r.InputImageFormat == FormatVHD) {
		p.add("outputImageFilename %q ends with %s, but the output has the format of the input, %s", given, ext, r.InputImageFormat)
	}
	if given != "" && strings.EqualFold(file, r.InputFile()) {
		p.add("outputImageFilename %q is the input image itself", given)
	}
}

// What PVS accepts: the name of a vDisk, and the path of a file, in characters.
const (
	pvsNameLimit = 52
	pvsPathLimit = 127
)

// pvsReady checks that PVS will take the output.
func (p *problems) pvsReady(r *Request, file string) {
	name := strings.TrimSuffix(file, path.Ext(file))
	if i := strings.IndexFunc(name, func(r rune) bool { return r > '~' }); i >= 0 {
		p.add("outputImageFilename %q holds characters that are not ASCII: PVS does not take them", name)
	}
	if n := utf8.RuneCountInString(name); n > pvsNameLimit {
		p.add("outputImageFilename %q is %d characters long without its extension: PVS takes at most %d", name, n, pvsNameLimit)
	}
	folder, err := r.InputStorageLocation.Folder()
	if err != nil {
		return // said already
	}
	if full := folder.UNC(file); utf8.RuneCountInString(full) > pvsPathLimit {
		p.add("the output's path %s is %d characters long: PVS takes at most %d", full, utf8.RuneCountInString(full), pvsPathLimit)
	}
}

// fileName checks the name of an image: a file in the folder, not a path, made
// of characters that PVS allows.
func (p *problems) fileName(key, name string) {
	if strings.TrimSpace(name) == "" {
		p.add("%s is missing", key)
		return
	}
	bad := strings.IndexFunc(name, func(r rune) bool { return r < ' ' || strings.ContainsRune(`|"\/:*?<>`, r) })
	switch {
	case bad >= 0:
		p.add("%s %q holds %q: it is the name of a file in the folder of inputStorageLocation, without a path", key, name, name[bad:bad+1])
	case trimmedByWindows(name) || strings.TrimSpace(name) != name || strings.ContainsFunc(name, unicode.IsControl):
		p.add("%s %q is not a file name on Windows", key, name)
	case isDevice(name):
		p.add("%s %q is the name of a device on Windows", key, name)
	case len(name) > 200:
		p.add("%s is %d bytes long, more than 200", key, len(name))
	}
}

// imageExtensions are the extensions that a request may spell out.
var imageExtensions = []string{".vhdx", ".avhdx", ".vhd", ".avhd"}

// withExtension appends ext unless name already ends like an image.
func withExtension(name, ext string) string {
	if slices.Contains(imageExtensions, strings.ToLower(path.Ext(name))) {
		return name
	}
	return name + ext
}

// InputFile is the name of the image's file in its folder: the
// specification's examples leave the extension to the format.
func (r *Request) InputFile() string {
	ext := ".vhdx"
	if r.InputImageFormat == FormatVHD {
		ext = ".vhd"
	}
	return withExtension(r.InputImageFilename, ext)
}

// OutputFile is the name of the differencing disk's file. Where the request
// gives no extension it is .avhdx or .avhd: what PVS looks for. It is "" where
// the files on the share decide on it (PVSVersion).
func (r *ConvertToUEFI) OutputFile() string {
	if r.PVSVersion != "" {
		return ""
	}
	ext := ".avhdx"
	if r.InputImageFormat == FormatVHD {
		ext = ".avhd"
	}
	return withExtension(r.OutputImageFilename, ext)
}

// OutputPath is the UNC path of the differencing disk, "" where its name is not
// known yet.
func (r *ConvertToUEFI) OutputPath() string {
	folder, err := r.InputStorageLocation.Folder()
	if r.OutputFile() == "" || err != nil {
		return ""
	}
	return folder.UNC(r.OutputFile())
}

// OutputFile is the name of the upgraded copy's file.
func (r *UpgradePVS) OutputFile() string {
	ext := ".vhdx"
	if r.InputImageFormat == FormatVHD {
		ext = ".vhd"
	}
	return withExtension(r.OutputImageFilename, ext)
}

// WorkflowID is the workflow id under which our clients start a job on the
// image: its canonical path. Temporal runs one workflow of an id at a time,
// which makes it the lock of the image and the key of an idempotent start.
func (r *Request) WorkflowID() (string, error) {
	return r.canonicalFile(r.InputFile())
}

func (r *Request) canonicalFile(file string) (string, error) {
	return r.InputStorageLocation.FileID(file)
}

// FileID identifies a file at the location as WorkflowID does the image.
func (s StorageLocation) FileID(file string) (string, error) {
	folder, err := s.Folder()
	if err != nil {
		return "", Errorf(BadRequest, "Correct the request", "inputStorageLocation: %w", err)
	}
	return printable("ips/" + folder.canonical() + "/" + strings.ToLower(file)), nil
}

// printable percent-encodes what Temporal's workflow ids cannot carry:
// everything but printable ASCII.
func printable(id string) string {
	var b strings.Builder
	for i := range len(id) {
		if c := id[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// OutputID identifies the output file as WorkflowID does the image; "" where
// its name is not known yet.
func (r *ConvertToUEFI) OutputID() (string, error) {
	if r.OutputFile() == "" {
		return "", nil
	}
	return r.canonicalFile(r.OutputFile())
}

// OutputPath is the UNC path of the upgraded copy.
func (r *UpgradePVS) OutputPath() string {
	folder, err := r.InputStorageLocation.Folder()
	if err != nil {
		return ""
	}
	return folder.UNC(r.OutputFile())
}

// OutputID identifies the output file as WorkflowID does the image.
func (r *UpgradePVS) OutputID() (string, error) { return r.canonicalFile(r.OutputFile()) }
