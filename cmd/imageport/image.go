package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
only read: the conversion is a new differencing disk beside it.`,
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
	manager    string
	types      map[string]string
	version    bool
	overwrite  bool
	ignoreLock bool
}

func (f *conversionFlags) add(cmd *cobra.Command) {
	addCredential(cmd, &f.credential)
	flags := cmd.Flags()
	flags.StringSliceVar(&f.esp, "esp", nil, "where the EFI system partition may go, in this order: gap, reuse, shrink (default all)")
	flags.StringVar(&f.manager, "boot-manager", "", "signature of the boot manager: 2011 or 2023 (default 2011)")
	flags.StringToStringVar(&f.types, "partition-type", nil, "what partitions of an unknown MBR type are: `type=data|recovery|oem|GUID`, such as 0x1c=oem")
	flags.BoolVar(&f.version, "next-version", false, "make the output the vDisk's next PVS version, with manifest and properties")
	flags.BoolVar(&f.overwrite, "overwrite", false, "replace an earlier differencing disk of the same image")
	flags.BoolVar(&f.ignoreLock, "ignore-lock", false, "convert although PVS has the image in use")
	for name, values := range map[string][]string{"esp": {"gap", "reuse", "shrink"}, "boot-manager": {"2011", "2023"}} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}

// task makes the task of a conversion of an image that lies at a place.
func (f *conversionFlags) task(image string, p place, output string) (convert.Task, error) {
	request := job.ConvertToUEFI{OutputImageFilename: output}
	request.UEFIOptions = job.UEFIOptions{BootManager: job.BootManager(f.manager), PartitionTypes: f.types}
	for _, e := range f.esp {
		request.UEFIOptions.ESPPlacement = append(request.UEFIOptions.ESPPlacement, job.ESPPlacement(e))
	}
	if err := request.UEFIOptions.Validate(); err != nil {
		return convert.Task{}, err
	}
	t := convert.Task{
		Key: strings.ReplaceAll(uuid.NewString(), "-", "")[:16], Input: p.name,
		Overwrite: f.overwrite, IgnoreLock: f.ignoreLock, Options: request.UEFIOptions,
	}
	if strings.HasSuffix(strings.ToLower(p.name), "vhd") {
		request.InputImageFormat = job.FormatVHD
	}
	switch {
	case f.version && output != "":
		return t, job.Errorf(job.BadRequest, "Leave one of them out", "--next-version names the output by its version, so no output can be given")
	case !f.version && output == "":
		return t, job.Errorf(job.BadRequest, "Give its name, or --next-version", "there is no name for the output")
	case !f.version:
		t.Output = request.OutputFile()
	}
	if t.Output != "" && (t.Output != filepath.Base(t.Output) || strings.ContainsAny(t.Output, `/\`)) {
		return t, job.Errorf(job.BadRequest, "Give a name without a path", "%s is a path: a differencing disk lies beside its parent", t.Output)
	}
	// Every GUID of the output follows from this: the same image converts to
	// the same bytes wherever that is done from.
	t.Job = "image convert " + p.name
	if p.onShare {
		t.Storage = job.StorageLocation{Location: folderOf(image)}
	}
	return t, nil
}

// folderOf gives the folder of a file on a share.
func folderOf(path string) string { return path[:strings.LastIndexAny(path, `/\`)] }

// savePicture writes a PNG to a new file.
func savePicture(path string, png []byte) error {
	if path == "" || len(png) == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("screenshot: %w", err)
	}
	if _, err := f.Write(png); err != nil {
		f.Close()
		return fmt.Errorf("screenshot: %w", err)
	}
	return f.Close()
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
