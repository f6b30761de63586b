package job

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Operation names what a job does to a vDisk. It is the Temporal workflow type.
type Operation string

// The operations of the specification.
const (
	OpReverseImage  Operation = "reverseImage"
	OpConvertToUEFI Operation = "convertToUefi"
	OpUpgradePVS    Operation = "upgradePvs"
)

// ImageFormat is the container of the input image.
type ImageFormat string

// The formats of the specification.
const (
	FormatVHD  ImageFormat = "VhdDiskFormat"
	FormatVHDX ImageFormat = "VhdxDiskFormat"
)

// Request is the part that the three operations have in common: where the
// image is, and where the Compositing Engine is to run. Field names are those
// of the specification; keys are matched without regard to case.
type Request struct {
	Target
	ResourceLocationID   string          `json:"resourceLocationId"`
	InputStorageLocation StorageLocation `json:"inputStorageLocation"`
	InputImageFilename   string          `json:"inputImageFilename"`
	InputImageFormat     ImageFormat     `json:"inputImageFormat,omitempty"`
	OverwriteOutput      bool            `json:"overwriteOutput,omitempty"`
}

// Target is the platform that a job uses, and where on it.
type Target struct {
	Platform             string `json:"platform"`
	PlatformCredentialID string `json:"platformCredentialId,omitempty"`
	Placement
}

// ReverseImage asks for a native disk of the hypervisor made from a vDisk.
// Specification: "Reverse Imaging".
type ReverseImage struct {
	Request
	OutputDiskName string        `json:"outputDiskName"`
	OutputSizeMB   SizeMB        `json:"outputSizeMb,omitempty"`
	ProvisionType  ProvisionType `json:"provisionType,omitempty"`

	// What follows is ours.

	// DryRun ends the job after its checks, with what it would do as the result.
	DryRun bool `json:"dryRun,omitempty"`
	// FixUps is FixUpsNone for a disk that is equal to the vDisk to the bit; ""
	// makes its Windows fit to start from a disk of the platform.
	FixUps string `json:"fixups,omitempty"`
	// Verify is VerifyFull to read all of the disk and the image again; ""
	// reads back what was written.
	Verify string `json:"verify,omitempty"`
	// CreateVM leaves a VM around the disk, switched off.
	CreateVM bool `json:"createVm,omitempty"`
	// VMName is that VM's name, by default the disk's without folder and extension.
	VMName string `json:"vmName,omitempty"`
	// IgnoreLock copies although PVS has the image in use.
	IgnoreLock bool `json:"ignoreLock,omitempty"`
}

// ProvisionType is when the blocks of an output disk are allocated.
type ProvisionType string

// The provision types of vSphere. Other platforms have Thin only.
const (
	ProvisionThin        ProvisionType = "Thin"
	ProvisionThick       ProvisionType = "Thick"            // allocated, zeroed when first written
	ProvisionEagerZeroed ProvisionType = "EagerZeroedThick" // allocated and zeroed
)

// ConvertToUEFI asks for a GPT/UEFI differencing disk beside a BIOS/MBR vDisk.
// Specification: "Convert to UEFI".
type ConvertToUEFI struct {
	Request
	// OutputImageFilename may be left out where PVSVersion names the output.
	OutputImageFilename string `json:"outputImageFilename"`

	// What follows is ours.

	// DryRun ends the job after its plan, which is then the result.
	DryRun bool `json:"dryRun,omitempty"`
	// Verify says how the output is verified beyond reading it back: VerifyBoot
	// or "".
	Verify string `json:"verify,omitempty"`
	// PVSVersion is PVSNext to make the output the vDisk's next version, with
	// its manifest and properties; "" makes just the output.
	PVSVersion string `json:"pvsVersion,omitempty"`
	// IgnoreLock converts although PVS has the image in use.
	IgnoreLock  bool        `json:"ignoreLock,omitempty"`
	UEFIOptions UEFIOptions `json:"uefiOptions,omitzero"`
}

const (
	// VerifyBoot starts the output's own boot manager under UEFI firmware.
	VerifyBoot = "boot"
	// VerifyFull compares the whole output disk with the image.
	VerifyFull = "full"
	// FixUpsNone copies an image to the bit.
	FixUpsNone = "none"
	// PVSNext is the number after that of the vDisk's last version.
	PVSNext = "next"
)

// UpgradePVS asks for a copy of a vDisk with other PVS target software.
// Specification: "Upgrade PVS".
type UpgradePVS struct {
	Request
	OutputImageFilename string         `json:"outputImageFilename"`
	OutputSizeMB        SizeMB         `json:"outputSizeMb,omitempty"`
	UpgradeOptions      UpgradeOptions `json:"upgradeOptions"`

	// What follows is ours.

	// DryRun ends the job after its checks, with what it would do as the result.
	DryRun bool `json:"dryRun,omitempty"`
	// Verify is VerifyFull to read the output file again from the share; "" looks
	// at what matters in it.
	Verify string `json:"verify,omitempty"`
	// IgnoreLock reads the image although PVS has it in use.
	IgnoreLock bool `json:"ignoreLock,omitempty"`
}

// UpgradeOptions says which software an upgradePvs job installs.
type UpgradeOptions struct {
	// InstallPVS is the version of the PVS target software, such as "2311": one of
	// the worker's catalogue of installers.
	InstallPVS string `json:"installPvs"`

	// What follows is ours.

	// Force installs although the image has that version already.
	Force bool `json:"force,omitempty"`
	// TimeoutMinutes is how long the Windows of the copy may be on in all, by
	// default DefaultGuestMinutes.
	TimeoutMinutes float64 `json:"timeoutMinutes,omitempty"`
	// MemoryMB and CPUs are those of the VM that starts the copy, by default
	// DefaultGuestMemoryMB and DefaultGuestCPUs.
	MemoryMB SizeMB `json:"memoryMb,omitempty"`
	CPUs     int    `json:"cpus,omitempty"`
	// NIC is NICNone for a VM without a network card; "" gives it one of the
	// image's model, which is not connected.
	NIC string `json:"nic,omitempty"`
}

// The guest of an upgradePvs job, where the request does not say.
const (
	DefaultGuestMinutes  = 120
	DefaultGuestMemoryMB = 4096
	DefaultGuestCPUs     = 2
	// NICNone is no network card.
	NICNone = "none"
)

// Timeout is how long the guest may be on.
func (o UpgradeOptions) Timeout() time.Duration {
	return time.Duration(cmp.Or(o.TimeoutMinutes, DefaultGuestMinutes) * float64(time.Minute))
}

// SizeMB is a size in MiB. In JSON it is a number or, as in the
// specification's examples, a string. Zero, null and absent mean: compute it.
type SizeMB int64

// UnmarshalJSON reads a number, a string holding one, or null.
func (s *SizeMB) UnmarshalJSON(b []byte) error {
	text := strings.TrimSpace(strings.Trim(string(b), `"`))
	if text == "null" || text == "" {
		*s = 0
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 64<<20 {
		return fmt.Errorf("%s is not a size in MB (a whole number from 1 to %d)", b, 64<<20)
	}
	*s = SizeMB(n)
	return nil
}

// Parse reads the JSON body of a request and validates it. Keys that the
// request does not know are returned as warnings. Every error is a BadRequest
// that lists all that is wrong.
func Parse[R any, P interface {
	*R
	validate(*problems)
}](body []byte) (R, []string, error) {
	var req R
	body = bytes.TrimPrefix(body, []byte("\ufeff")) // as editors on Windows write it
	if bytes.HasPrefix(body, []byte{0xff, 0xfe}) || bytes.HasPrefix(body, []byte{0xfe, 0xff}) {
		return req, nil, Errorf(BadRequest, "Save it as UTF-8, for example with Out-File -Encoding utf8", "the request is encoded as UTF-16")
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return req, nil, Errorf(BadRequest, "Pass the JSON body of the specification, for example with --input-file body.json", "the request is empty")
	}
	body, err := wireKeys(body)
	if err != nil {
		return req, nil, err
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return req, nil, Errorf(BadRequest, "Correct the JSON and start the job again", "the request is not valid: %s", describeJSON(body, err))
	}
	var raw any
	if err := json.Unmarshal(body, &raw); err != nil {
		return req, nil, Errorf(BadRequest, "Correct the JSON and start the job again", "the request is not valid: %s", err)
	}
	if _, isObject := raw.(map[string]any); !isObject {
		return req, nil, Errorf(BadRequest, "Pass the JSON body of the specification", "the request is not a JSON object")
	}
	warnings := unknownKeys(reflect.TypeFor[R](), raw, "")
	var p problems
	P(&req).validate(&p)
	return req, warnings, p.err()
}

// describeJSON says where in body an error of encoding/json lies.
func describeJSON(body []byte, err error) string {
	position := func(offset int64) string {
		before := body[:min(max(offset, 0), int64(len(body)))]
		line := 1 + bytes.Count(before, []byte("\n"))
		return fmt.Sprintf("line %d, column %d", line, len(before)-bytes.LastIndexByte(before, '\n'))
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("%s: %s", position(e.Offset-1), e)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field == "" {
			return fmt.Sprintf("it is a JSON %s, not an object", e.Value)
		}
		_, field, _ := strings.Cut("."+e.Field, ".Request.")
		return fmt.Sprintf("%s: %s is a JSON %s, not a %s", position(e.Offset), cmp.Or(field, e.Field), e.Value, kind(e.Type))
	}
	return err.Error()
}

// kind names a Go type as people who write JSON would.
func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		return "object"
	case reflect.Int, reflect.Int64:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Bool:
		return "true or false"
	}
	return t.Kind().String()
}

// unknownKeys lists the keys of a decoded JSON value that type t has no field
// for, sorted.
func unknownKeys(t reflect.Type, value any, path string) []string {
	object, ok := value.(map[string]any)
	if !ok || t.Kind() != reflect.Struct {
		return nil
	}
	var unknown []string
	fields := reflect.VisibleFields(t)
	//workflowcheck:ignore
	for key, v := range object { // in any order: the result is sorted
		field, ok := fieldFor(fields, key)
		if !ok {
			unknown = append(unknown, fmt.Sprintf("unknown key %q was ignored", path+key))
			continue
		}
		unknown = append(unknown, unknownKeys(field.Type, v, path+key+".")...)
	}
	slices.Sort(unknown)
	return unknown
}

// fieldFor finds the field whose JSON name is key without regard to case.
func fieldFor(fields []reflect.StructField, key string) (reflect.StructField, bool) {
	for _, field := range fields {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "" && strings.EqualFold(name, key) {
			return field, true
		}
	}
	return reflect.StructField{}, false
}
