package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is what the build knows of itself.
type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a changed checkout
	Go       string `json:"go"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of the program",
		Example: `  imageport version -o json`,
		Args:    cobra.NoArgs,
		RunE: a.do(func(context.Context, []string) error {
			v := buildVersion()
			if a.output == outputJSON {
				return a.printJSON(v)
			}
			text := "imageport " + v.Version
			if v.Revision != "" {
				text += " " + v.Revision
			}
			if v.Modified {
				text += " (modified)"
			}
			_, err := fmt.Fprintf(a.out, "%s %s\n", text, v.Go)
			return err
		}),
	}
}

// release is what who builds the program calls it, by the linker's -X main.release;
// else it is what the module's version control says.
var release string

func buildVersion() version {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version{Version: cmp.Or(release, "unknown")}
	}
	v := version{Version: cmp.Or(release, info.Main.Version), Go: info.GoVersion}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}
