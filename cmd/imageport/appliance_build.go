package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imageport/appliance"
	"imageport/appliance/export"
	"imageport/job"
)

// formatUKI is the format that is always built.
const formatUKI = "uki"

// buildFlags are what an appliance is made with, besides the packages.
type buildFlags struct {
	agent, out, version, signWith string
	formats                       []string
	bios                          bool
}

func (a *app) applianceBuildCommand() *cobra.Command {
	var from packageFlags
	var to buildFlags
	cmd := &cobra.Command{
		Use:   "build --out folder",
		Short: "Build the appliance",
		Long: `Build the appliance: a unified kernel image (UKI) of the kernel, the agent and the few
programs that it needs, a bill of materials in CycloneDX, and the files of --formats.

Of the formats, raw is what platform qemu starts: image under [qemu] of the configuration
names it. With firmware = "bios" there, build it with --bios.

The same lock, agent and date make the same bytes. The date is the lock's, or
$SOURCE_DATE_EPOCH.

--sign-with is the hook for Secure Boot: a command that signs a PE file, such as sbsign or
that of a hardware security module. Its words are parted by spaces, no shell sees them,
{in} and {out} stand for the files. That nothing but a signature was added is verified:
  --sign-with 'sbsign --key db.key --cert db.crt --output {out} {in}'`,
		Example: `  imageport appliance build --out appliance --formats raw
  imageport appliance build --out appliance --formats raw,ova,vhd,gcp,iso --bios -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			o, err := to.options()
			if err != nil {
				return err
			}
			if o.Lock, o.Packages, err = a.packages(ctx, from); err != nil {
				return err
			}
			o.Step = func(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }
			r, err := appliance.Build(ctx, o)
			if err != nil {
				return err
			}
			return a.printAppliance(r)
		}),
	}
	from.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&to.agent, "agent", "", "the static `program` that becomes the appliance's only process (default imageport-ce beside this program)")
	flags.StringVar(&to.out, "out", "", "`folder` for the files")
	flags.StringVar(&to.version, "version", "", "`version` of the appliance (default that of the agent)")
	flags.StringVar(&to.signWith, "sign-with", "", "`command` that signs the UKI: it reads {in} and writes {out}")
	flags.StringSliceVar(&to.formats, "formats", nil, "files to make besides the UKI: `"+strings.Join(formatNames(), ",")+"`")
	flags.BoolVar(&to.bios, "bios", false, "disks start on BIOS machines, too")
	_ = cmd.MarkFlagRequired("out") // it fails for a flag that is not there
	_ = cmd.RegisterFlagCompletionFunc("formats", cobra.FixedCompletions(formatNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func formatNames() []string {
	names := []string{formatUKI}
	for _, f := range export.Formats() {
		names = append(names, string(f))
	}
	return names
}

// options are those of the build that do not depend on the packages.
func (f buildFlags) options() (appliance.Options, error) {
	o := appliance.Options{Agent: f.agent, Dir: f.out, Version: f.version, SignWith: f.signWith, BIOS: f.bios}
	for _, name := range f.formats {
		if !slices.Contains(formatNames(), name) {
			return o, job.Errorf(job.BadRequest, "Give some of "+strings.Join(formatNames(), ", "), "there is no format %q", name)
		}
		if name != formatUKI {
			o.Formats = append(o.Formats, export.Format(name))
		}
	}
	if f.bios && !slices.ContainsFunc(o.Formats, func(f export.Format) bool { return f != export.ISO }) {
		return o, job.Errorf(job.BadRequest, "Give a format that is a disk, such as --formats raw", "--bios is for disks, and none is to be made")
	}
	if o.Agent == "" {
		self, err := os.Executable()
		if err != nil {
			return o, err
		}
		o.Agent = filepath.Join(filepath.Dir(self), appliance.Name)
	}
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseUint(epoch, 10, 32)
		if err != nil {
			return o, job.Errorf(job.BadRequest, "Set it to seconds since 1970, or unset it", "SOURCE_DATE_EPOCH is %q", epoch)
		}
		o.Time = time.Unix(int64(seconds), 0)
	}
	return o, nil
}

// printAppliance prints what was built.
func (a *app) printAppliance(r appliance.Result) error {
	if a.output == outputJSON {
		return a.printJSON(r)
	}
	p := printer{w: a.out}
	p.line("%s %s with kernel %s", r.Name, r.Version, r.Kernel)
	p.field("digest", r.Digest)
	p.field("unsigned", r.Unsigned)
	p.field("lock", r.Lock)
	for _, f := range r.Files {
		p.field(f.Format, fmt.Sprintf("%s (%s)", f.Path, sizeText(f.SizeBytes)))
	}
	return p.err
}
