package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"imageport/engine/catalogue"
	"imageport/job"
)

func (a *app) catalogueAddCommand() *cobra.Command {
	var flags catalogueFlags
	var add catalogue.Addition
	var args string
	cmd := &cobra.Command{
		Use:   "add file",
		Short: "Copy an installer into the catalogue and enter it",
		Long: `Copy an installer into the catalogue and enter it into catalogue.json, with its hash,
product version and processor. There it is called VERSION-NAME, beside catalogue.json, or as
--as says. A file that is there already with the same content is not copied.

With --replace it takes the place of the installer of the same version. Whatever else you
wrote about that one stays, and so does its file, for jobs that may be using it.

Nothing else in catalogue.json is changed, though it is laid out anew. What it was before is
in catalogue.json.previous.`,
		Example: `  imageport catalogue add PVS_Device_x64.exe --version 2311
  imageport catalogue add PVS_Device_x64.exe --version "2402 LTSR" --min-from 7.15 --replace
  imageport catalogue add PVS_Device_x64.exe --version 2311 --as 2311/Device/PVS_Device_x64.exe
  imageport catalogue add target.msi --version 2311 --product-version 7.41.100.62
  imageport catalogue add a.exe --version 2311 --catalogue smb://files/installers --credential files`,
		Args: cobra.ExactArgs(1),
	}
	cmd.RunE = a.do(func(ctx context.Context, file []string) error {
		if cmd.Flags().Changed("args") {
			add.Args = &args
		}
		return a.addInstaller(ctx, file[0], flags, add)
	})
	flags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&add.Version, "version", "", "`version` that requests will name in upgradeOptions.installPvs, such as 2311")
	choose(cmd, &add.Arch, "arch", "`processor` of the Windows that it is for: x64, x86 or arm64 (default x64, or arm64 if the file is a program for that)", catalogue.ArchX64, catalogue.ArchX86, catalogue.ArchARM64)
	f.StringVar(&add.ProductVersion, "product-version", "", "`version` that Windows lists when it is installed (default that of the file)")
	f.StringVar(&args, "args", "", "`arguments` for a silent installation (default those for InstallShield, or of a package)")
	f.StringVar(&add.MinFrom, "min-from", "", "oldest `version` that it upgrades in place")
	f.StringVar(&add.As, "as", "", "`path` of the file in the catalogue, in a folder that is there")
	f.BoolVar(&add.Replace, "replace", false, "replace the installer of the same version")
	_ = cmd.MarkFlagRequired("version") // it fails for a flag that is not there
	return cmd
}

func (a *app) addInstaller(ctx context.Context, path string, flags catalogueFlags, add catalogue.Addition) error {
	f, err := os.Open(path)
	if err != nil {
		return job.Errorf(job.BadRequest, "Give the path of the installer on this machine", "%w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return job.Errorf(job.BadRequest, "Give the path of the installer on this machine", "%s is not a file", path)
	}
	where, err := a.findCatalogue(flags)
	if err != nil {
		return err
	}
	add.Source, add.SizeBytes, add.Name = f, info.Size(), filepath.Base(path)
	report, end := a.showBytes("add", "copy")
	added, err := catalogue.Add(ctx, where.dial(a.openOutput), add, report)
	end()
	if err != nil {
		return stopped(ctx, err, "the catalogue is as it was")
	}
	return a.printAdded(added, where)
}

func (a *app) printAdded(added catalogue.Added, where cataloguePlace) error {
	a.warnOfCatalogue(added.Warnings)
	if a.output == outputJSON {
		return a.printJSON(added)
	}
	p := printer{w: a.out}
	in := added.Installer
	p.line("%v is in the catalogue %s", in, where)
	file := in.File
	if !added.Copied {
		file += " (which was there already)"
	}
	p.field("file", file)
	p.field("sha256", in.SHA256)
	p.field("version", in.ProductVersion+", as Windows must list it afterwards")
	p.field("arguments", in.Args)
	if added.Replaced != "" {
		p.line("  %-9s %s is not used any more: remove it when no job uses it", "replaced", added.Replaced)
	}
	return p.err
}
