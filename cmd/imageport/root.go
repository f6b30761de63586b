package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// app is one call of the program: its streams and the flags of all commands.
type app struct {
	in       io.Reader
	out, err io.Writer

	config    string // path of the configuration file
	address   string // of Temporal, and so on
	namespace string
	profile   string
	output    outputFormat

	running bool // the command line was understood
}

// run runs the program and gives its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, err io.Writer) int {
	a := &app{in: in, out: out, err: err, output: outputText}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(err)
	cmd, failure := root.ExecuteContextC(ctx)
	return a.report(cmd, failure)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "imageport",
		Short: "Convert Citrix Provisioning vDisks, as durable Temporal workflows",
		Long: `imageport converts Citrix Provisioning (PVS) vDisks on an SMB share.

Temporal is found as by all of its programs: by the environment (TEMPORAL_ADDRESS,
TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS…) and the profile file. Everything
else is in one configuration file, ~/.config/imageport/config.toml.

Exit codes: 0 success, 1 failure, 2 wrong usage, 3 the job was canceled, 4 the job was
terminated, 130 interrupted.`,
		Example: `  imageport worker --resource-location 5f3b
  imageport start convert-to-uefi -f body.json --wait
  imageport jobs list --state running`,
		Args:          cobra.ArbitraryArgs,
		RunE:          group,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.config, "config", "", "configuration `file` (default $IMAGEPORT_CONFIG or ~/.config/imageport/config.toml)")
	flags.StringVar(&a.address, "address", "", "`host:port` of the Temporal server (default $TEMPORAL_ADDRESS, the profile's, or localhost:7233)")
	flags.StringVar(&a.namespace, "namespace", "", "Temporal `namespace` (default $TEMPORAL_NAMESPACE, the profile's, or default)")
	flags.StringVar(&a.profile, "profile", "", "`name` of the profile in Temporal's profile file (default $TEMPORAL_PROFILE or default)")
	flags.VarP(&a.output, "output", "o", "print `text or json`")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{string(outputText), string(outputJSON)}, cobra.ShellCompDirectiveNoFileComp)) // it fails for a flag that is not there
	root.AddCommand(a.workerCommand(), a.agentCommand(), a.startCommand(), a.jobsCommand(), a.batchCommand(), a.sweepCommand(), a.serveCommand(), a.diskCommand(), a.imageCommand(), a.applianceCommand(), a.credentialsCommand(), a.catalogueCommand(), a.labCommand(), a.healthCommand(), a.versionCommand())
	return root
}

// group is the work of a command that only has others under it.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	// Otherwise cobra would show the help and call it a success.
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		return fmt.Errorf("unknown command %q: did you mean %s?", args[0], strings.Join(similar, ", "))
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// do makes f the work of a command. What fails before it is a wrong usage.
func (a *app) do(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.running = true
		return f(cmd.Context(), args)
	}
}

// outputFormat is the value of --output.
type outputFormat string

const (
	outputText outputFormat = "text"
	outputJSON outputFormat = "json"
)

// String implements pflag.Value.
func (o *outputFormat) String() string { return string(*o) }

// Set implements pflag.Value.
func (o *outputFormat) Set(s string) error {
	switch f := outputFormat(s); f {
	case outputText, outputJSON:
		*o = f
		return nil
	}
	return fmt.Errorf("it is neither %s nor %s", outputText, outputJSON)
}

// Type implements pflag.Value.
func (o *outputFormat) Type() string { return "format" }
