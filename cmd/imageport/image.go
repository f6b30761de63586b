package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"imageport/engine/convert"
	"imageport/job"
)

func (a *app) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Inspect the Windows in an image, convert it to UEFI and verify the result",
		Long: `Inspect the Windows in an image, plan and perform its conversion from BIOS to UEFI, and
verify the result: what a convertToUefi job does, here and now. No Temporal, no worker
and no Compositing Engine is needed.

An image is a path, or a file on a share: smb://host/share/folder/file or
\\host\share\folder\file, with --credential for the id of its credential in the wallet.
A differencing image is taken with its parents, which lie beside it. The image itself is
only read: the conversion is a new differencing disk beside it.

Refusals are those of a job. They name what a request sets; the descriptions of the flags
give the same names, in parentheses.`,
		Example: `  imageport image inspect win10.vhdx
  imageport image plan smb://files/pvs/store/win10.vhdx --credential files
  imageport image convert win10.vhdx win10-uefi
  imageport image verify win10-uefi.avhdx --boot`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	cmd.AddCommand(a.imageInspectCommand(), a.imagePlanCommand(), a.imageConvertCommand(), a.imageVerifyCommand())
	return cmd
}

// conversionFlags are the choices of a conversion.
type conversionFlags struct {
	credential string
	esp        []string
	manager    job.BootManager
	types      map[string]string
	version    bool
	overwrite  bool
	ignoreLock bool
}

func (f *conversionFlags) add(cmd *cobra.Command) {
	addCredential(cmd, &f.credential)
	flags := cmd.Flags()
	flags.StringSliceVar(&f.esp, "esp", nil, "`places` where the EFI system partition may go, in this order: gap, reuse, shrink; all of them if not given (espPlacement)")
	choose(cmd, &f.manager, "boot-manager", "`year` of the boot manager's signature: 2011 or 2023; 2011 if not given (bootManager)", job.BootManager2011, job.BootManager2023)
	flags.StringToStringVar(&f.types, "partition-type", nil, "what partitions of an unknown MBR type are: `type=data|recovery|oem|GUID`, such as 0x1c=oem (partitionTypes)")
	flags.BoolVar(&f.version, "next-version", false, "make the output the vDisk's next PVS version, with manifest and properties (pvsVersion)")
	flags.BoolVar(&f.overwrite, "overwrite", false, "replace an earlier differencing disk of the same image (overwriteOutput)")
	flags.BoolVar(&f.ignoreLock, "ignore-lock", false, "convert although PVS has the image in use (ignoreLock)")
	complete(cmd, "esp", texts(job.ESPPlacements))
}

// task makes the task of a conversion of an image that lies at a place.
func (f *conversionFlags) task(image string, p place, output string) (convert.Task, error) {
	switch {
	case f.version && output != "":
		return convert.Task{}, job.Errorf(job.BadRequest, "Leave one of them out", "--next-version names the output by its version, so no output can be given")
	case !f.version && output == "":
		return convert.Task{}, job.Errorf(job.BadRequest, "Give its name, or --next-version", "there is no name for the output")
	}
	request, err := f.request(image, p, output)
	if err != nil {
		return convert.Task{}, err
	}
	t := convert.Task{
		// Every GUID of the output follows from this: the same image converts to
		// the same bytes wherever that is done from.
		Job:   "image convert " + p.name,
		Key:   strings.ReplaceAll(uuid.NewString(), "-", "")[:16],
		Input: p.name, Output: request.OutputFile(),
		Overwrite: f.overwrite, IgnoreLock: f.ignoreLock, Options: request.UEFIOptions,
	}
	if p.onShare {
		t.Storage = job.StorageLocation{Location: folderOf(image)}
	}
	return t, nil
}

// request is what would be asked of a job. A job's rules hold here, too: what
// this makes on a share, or what is copied to one, has to suit PVS.
func (f *conversionFlags) request(image string, p place, output string) (job.ConvertToUEFI, error) {
	r := job.ConvertToUEFI{
		OutputImageFilename: output, IgnoreLock: f.ignoreLock,
		UEFIOptions: job.UEFIOptions{BootManager: f.manager, PartitionTypes: f.types},
	}
	for _, e := range f.esp {
		r.UEFIOptions.ESPPlacement = append(r.UEFIOptions.ESPPlacement, job.ESPPlacement(e))
	}
	if f.version {
		r.PVSVersion = job.PVSNext
	}
	r.InputImageFilename, r.OverwriteOutput = p.name, f.overwrite
	if strings.HasSuffix(strings.ToLower(p.name), "vhd") {
		r.InputImageFormat = job.FormatVHD
	}
	// What only a job needs. A local folder has no path that PVS would see.
	r.Platform, r.ResourceLocationID = job.PlatformLocal, "here"
	r.InputStorageLocation = job.StorageLocation{CredentialID: "none", Location: `\\localhost\folder`}
	if p.onShare {
		r.InputStorageLocation.Location = folderOf(image)
	}
	body, err := json.Marshal(r)
	if err != nil {
		return r, err
	}
	r, _, err = job.Parse[job.ConvertToUEFI](body)
	return r, err
}

// folderOf gives the folder of a file on a share.
func folderOf(path string) string { return path[:strings.LastIndexAny(path, `/\`)] }

// nothingChanged is what an interruption before any change means.
const nothingChanged = "nothing was changed"

// stopped says that ^C has ended a command, where that is why err came up, and
// what that means.
func stopped(ctx context.Context, err error, means string) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return interrupted(means)
	}
	return err
}

// withConversion opens the folder of an image and makes the task.
func (a *app) withConversion(ctx context.Context, image, output string, flags conversionFlags, f func(ctx context.Context, p place, t convert.Task) error) error {
	p, err := a.openOutput(ctx, image, flags.credential)
	if err != nil {
		return err
	}
	defer p.Close()
	t, err := flags.task(image, p, output)
	if err != nil {
		return err
	}
	return f(ctx, p, t)
}
