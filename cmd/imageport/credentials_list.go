package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"imageport/wallet"
)

func (a *app) credentialsListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the credentials, without their secrets",
		Long: `List the credentials, without their secrets. Those that cannot be used are listed as well:
"imageport credentials show" says why. Those for any host go wherever a request says; with
require_hosts under [wallet] in the configuration, no such credential is used.`,
		Example: `  imageport credentials list
  imageport credentials list -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			w, where, err := a.openWallet()
			if err != nil {
				return err
			}
			list, err := w.List(ctx)
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(list)
			}
			return a.printCredentials(list, where)
		}),
	}
}

func (a *app) printCredentials(list []wallet.Metadata, where string) error {
	if len(list) == 0 {
		_, err := fmt.Fprintf(a.err, "imageport: there are no credentials in %s\n", where)
		return err
	}
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tTYPE\tUSERNAME\tDOMAIN\tSTATE\tUPDATED\tHOSTS")
	for _, m := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.ID, cmp.Or(string(m.Type), "-"), cmp.Or(m.Username, "-"), cmp.Or(m.Domain, "-"), m.State, cmp.Or(timeText(m.UpdatedAt), "-"), cmp.Or(hostsText(m, shownHosts), "-"))
	}
	return t.Flush()
}

// shownHosts is how many hosts of a credential a list shows.
const shownHosts = 3

// hostsText says for people which hosts a credential is for, at most so many of
// them, "" where that says nothing.
func hostsText(m wallet.Metadata, most int) string {
	switch {
	case m.Type != wallet.TypeUsernamePassword:
		return ""
	case len(m.Hosts) == 0:
		return "any host"
	case len(m.Hosts) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(m.Hosts[:most], ", "), len(m.Hosts)-most)
	}
	return strings.Join(m.Hosts, ", ")
}

func (a *app) credentialsShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show id",
		Short: "Show a credential, without its secret",
		Long: `Show a credential, without its secret. It fails if the credential cannot be used, as a job
that names it would.`,
		Example: `  imageport credentials show files
  imageport credentials show azure -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeCredentials,
		RunE: a.do(func(ctx context.Context, args []string) error {
			w, where, err := a.openWallet()
			if err != nil {
				return err
			}
			m, err := w.Describe(ctx, args[0])
			if err != nil {
				return err
			}
			return a.printCredential(m, "credential %q in %s", m.ID, where)
		}),
	}
}

// printCredential prints what may be known of a credential, under that heading.
func (a *app) printCredential(m wallet.Metadata, heading string, args ...any) error {
	if a.output == outputJSON {
		return a.printJSON(m)
	}
	p := printer{w: a.out}
	p.line(heading, args...)
	p.field("type", string(m.Type))
	p.field("username", m.Username)
	p.field("domain", m.Domain)
	p.field("hosts", hostsText(m, len(m.Hosts)))
	p.field("state", string(m.State))
	p.field("created", timeText(m.CreatedAt))
	p.field("updated", timeText(m.UpdatedAt))
	return p.err
}

// timeText is a local time for people, "" for none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}
