package main

import (
	"context"
	"io"

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

Exit codes: 0 success; 1 failure, refusal, or a check or comparison that found something;
2 wrong usage; 3 the job or batch was canceled; 4 it was terminated; 130 interrupted by ^C or
SIGTERM, which only a worker, a server and a lab take for success. Of a command that waits or
watches, the code is that of the job.

Results go to the standard output, all else to the standard error. With -o json, the last line
there is the error, if there is one: {"error": {"code", "message", "remedy"}}.`,
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
	formats := []outputFormat{outputText, outputJSON}
	flags.VarP(choice[outputFormat]{&a.output, formats}, "output", "o", "print `text or json`")
	complete(root, "output", texts(formats))
	root.AddCommand(a.workerCommand(), a.agentCommand(), a.startCommand(), a.jobsCommand(), a.batchCommand(), a.sweepCommand(), a.serveCommand(), a.diskCommand(), a.imageCommand(), a.applianceCommand(), a.credentialsCommand(), a.catalogueCommand(), a.labCommand(), a.healthCommand(), a.versionCommand())
	root.SetFlagErrorFunc(flagError)
	standardCommands(root)
	explainUsage(root)
	return root
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
