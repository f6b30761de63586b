package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"imageport/engine/share"
	"imageport/job"
)

// maxBodyBytes bounds a request: Temporal takes no more than 2 MiB.
const maxBodyBytes = 2 << 20

// bodyFlags are the flags that a request is made of.
type bodyFlags struct {
	operation job.Operation
	file      string
	set       []string
	image     string
	format    string             // by its extension
	texts     map[string]*string // by flag
	switches  map[string]*bool
}

// bodyKey is a flag for a key of the body.
type bodyKey struct {
	flag, key, usage string
	only             []job.Operation // nil is all of them
}

// The flags for common keys, in the order in which they are applied: those with
// a text, and those that are on or off.
var (
	textKeys = []bodyKey{
		{"platform", "platform", "`name` of the platform: vSphere, XenServer, Azure, GCP, qemu, local", nil},
		{"platform-credential", "platformCredentialId", "`id` of the platform's credential in the worker's wallet", nil},
		{"resource-location", "resourceLocationId", "`id` of the resource location whose worker does it", nil},
		{"host", "inputStorageLocation.host", "`host` of the SMB share (--image may name it)", nil},
		{"share", "inputStorageLocation.sharePath", "`share/folder` of the image (--image may name it)", nil},
		{"credential", "inputStorageLocation.credentialId", "`id` of the share's credential in the worker's wallet", nil},
		{"output-image", "outputImageFilename", "`name` of the file that is to be made beside the image", []job.Operation{job.OpConvertToUEFI, job.OpUpgradePVS}},
		{"output-disk", "outputDiskName", "`name` of the disk that is to be made, as the platform writes it", []job.Operation{job.OpReverseImage}},
		{"install-pvs", "upgradeOptions.installPvs", "`version` of the PVS target software, as the worker's catalogue has it", []job.Operation{job.OpUpgradePVS}},
		{"verify", "verify", "`how` to verify beyond the usual: boot", []job.Operation{job.OpConvertToUEFI}},
		{"verify", "verify", "`how` to verify beyond the usual: full", []job.Operation{job.OpReverseImage, job.OpUpgradePVS}},
	}
	switchKeys = []bodyKey{
		{"dry-run", "dryRun", "end the job after its checks, with what it would do as the result", nil},
		{"overwrite", "overwriteOutput", "replace an output that is there", []job.Operation{job.OpConvertToUEFI, job.OpUpgradePVS}},
		{"ignore-lock", "ignoreLock", "go on although PVS has the image in use", nil},
		{"create-vm", "createVm", "leave a VM around the disk, switched off", []job.Operation{job.OpReverseImage}},
		{"force", "upgradeOptions.force", "install although the image has that version already", []job.Operation{job.OpUpgradePVS}},
	}
)

func (k bodyKey) of(op job.Operation) bool { return k.only == nil || slices.Contains(k.only, op) }

// add adds the flags to a command, with their completions.
func (f *bodyFlags) add(a *app, cmd *cobra.Command) {
	f.texts, f.switches = make(map[string]*string), make(map[string]*bool)
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "file", "f", "", "`file` with the request's JSON body, - for the standard input")
	flags.StringArrayVar(&f.set, "set", nil, "`key=value` of the body; may be given several times")
	flags.StringVar(&f.image, "image", "", "`path` of the image: \\\\host\\share\\folder\\file, smb://host/share/folder/file, or just its name")
	choose(cmd, &f.format, "format", "`format` of the image: vhdx or vhd (default by its name)", "vhdx", "vhd")
	for _, k := range textKeys {
		if k.of(f.operation) {
			f.texts[k.flag] = flags.String(k.flag, "", k.usage)
		}
	}
	for _, k := range switchKeys {
		if k.of(f.operation) {
			f.switches[k.flag] = flags.Bool(k.flag, false, k.usage)
		}
	}
	complete(cmd, "platform", platformNames)
	completeBy(cmd, "platform-credential", a.completeCredentials)
	completeBy(cmd, "credential", a.completeCredentials)
	if f.operation == job.OpConvertToUEFI {
		complete(cmd, "verify", []string{job.VerifyBoot})
	} else {
		complete(cmd, "verify", []string{job.VerifyFull})
	}
	if f.operation == job.OpUpgradePVS {
		completeBy(cmd, "install-pvs", a.completeVersions)
	}
}

// given reports whether there is anything that a body could be made of.
func (f *bodyFlags) given(cmd *cobra.Command) bool { return f.file != "" || f.changes(cmd) }

// changes reports whether flags say something about the body.
func (f *bodyFlags) changes(cmd *cobra.Command) bool {
	if cmd.Flags().Changed("set") || cmd.Flags().Changed("image") || cmd.Flags().Changed("format") {
		return true
	}
	for flag := range f.texts {
		if cmd.Flags().Changed(flag) {
			return true
		}
	}
	for flag := range f.switches {
		if cmd.Flags().Changed(flag) {
			return true
		}
	}
	return false
}

// makeBody gives the body that the flags ask for: that of the file as it is,
// where no other flag says something about it.
func (a *app) makeBody(cmd *cobra.Command, f *bodyFlags) ([]byte, error) {
	body := object{}
	if f.file != "" {
		text, err := a.readBody(f.file)
		if err != nil || !f.changes(cmd) {
			return text, err
		}
		d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
		d.UseNumber()
		if err := d.Decode(&body); err != nil || body == nil {
			return nil, job.Errorf(job.BadRequest, "Correct the file, or leave the other flags out to hear where it is wrong", "%s is not a JSON object that flags could change", f.file)
		}
	}
	if cmd.Flags().Changed("image") {
		if err := f.setImage(body); err != nil {
			return nil, err
		}
	}
	if cmd.Flags().Changed("format") {
		body.set("inputImageFormat", formatOf("."+f.format))
	}
	for _, k := range textKeys {
		if k.of(f.operation) && cmd.Flags().Changed(k.flag) {
			body.set(k.key, *f.texts[k.flag])
		}
	}
	for _, k := range switchKeys {
		if k.of(f.operation) && cmd.Flags().Changed(k.flag) {
			body.set(k.key, *f.switches[k.flag])
		}
	}
	for _, s := range f.set {
		key, text, ok := strings.Cut(s, "=")
		if !ok || strings.Trim(key, ".") != key || key == "" || strings.Contains(key, "..") {
			return nil, job.Errorf(job.BadRequest, "Write it as key=value, such as --set datacenter=DC1", "--set %q names no key", s)
		}
		body.set(key, valueOf(text))
	}
	return json.Marshal(body)
}

// setImage sets what the path of an image says.
func (f *bodyFlags) setImage(body object) error {
	name := f.image
	if strings.ContainsAny(name, `/\`) {
		where, file, err := share.Parse(name)
		if err != nil {
			return err
		}
		if file == "" {
			return job.Errorf(job.BadRequest, `Give the path of a file, such as \\files\pvs\store\win10.vhdx`, "--image %s names no file", name)
		}
		if where.User != "" {
			return job.Errorf(job.BadRequest, "Leave it out, and name a credential of the wallet by --credential", "--image %s names a user", where)
		}
		name = file
		body.set("inputStorageLocation.host", where.Host)
		body.set("inputStorageLocation.sharePath", strings.Trim(where.Share+"/"+where.Folder, "/"))
		body.remove("inputStorageLocation.location") // says the same
		if where.Port != 0 && where.Port != job.DefaultSMBPort {
			body.set("inputStorageLocation.port", where.Port)
		}
	}
	body.set("inputImageFilename", name)
	if format := formatOf(path.Ext(name)); format != "" {
		body.set("inputImageFormat", format)
	}
	return nil
}

// formatOf is the format that an extension tells of, or "".
func formatOf(extension string) job.ImageFormat {
	switch strings.ToLower(extension) {
	case ".vhd", ".avhd":
		return job.FormatVHD
	case ".vhdx", ".avhdx":
		return job.FormatVHDX
	}
	return ""
}

// valueOf is the JSON value that a text is, or the text.
func valueOf(text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil || d.InputOffset() != int64(len(text)) {
		return text
	}
	return v
}

// object is a JSON object whose keys are found in any case, as those of a
// request are.
type object map[string]any

// set sets the value at a path of keys.
func (o object) set(path string, value any) {
	o, key := o.enter(path)
	o[key] = value
}

// remove removes it.
func (o object) remove(path string) {
	o, key := o.enter(path)
	delete(o, key)
}

// enter gives the object that has the last key of a path, and how it spells it.
func (o object) enter(path string) (object, string) {
	for {
		key, rest, deeper := strings.Cut(path, ".")
		if _, exact := o[key]; !exact {
			for _, have := range slices.Sorted(maps.Keys(o)) {
				if strings.EqualFold(have, key) {
					key = have
				}
			}
		}
		if !deeper {
			return o, key
		}
		inner, ok := o[key].(map[string]any)
		if !ok {
			inner = make(map[string]any)
			o[key] = inner
		}
		o, path = inner, rest
	}
}

func (a *app) readBody(file string) ([]byte, error) {
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, job.Errorf(job.BadRequest, "Check the name of the file", "the request cannot be read: %w", err)
		}
		defer f.Close()
		in = f
	}
	body, err := io.ReadAll(io.LimitReader(in, maxBodyBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	if len(body) > maxBodyBytes {
		return nil, job.Errorf(job.BadRequest, "Check that it is the right file", "the request %s is longer than %d bytes", file, maxBodyBytes)
	}
	return body, nil
}
