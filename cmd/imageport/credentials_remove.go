package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"imageport/job"
)

func (a *app) credentialsRemoveCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove id",
		Short: "Remove a credential from the wallet",
		Long: `Remove a credential from the wallet. Jobs that name it fail from then on. It asks before,
unless it is told --yes.`,
		Example: `  imageport credentials remove files
  imageport credentials remove files --yes`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeCredentials,
		RunE: a.do(func(ctx context.Context, args []string) error {
			w, where, err := a.openWallet()
			if err != nil {
				return err
			}
			editor, err := w.Editor()
			if err != nil {
				return err
			}
			if !yes {
				if err := a.confirm(ctx, fmt.Sprintf("Remove the credential %q from %s?", args[0], where)); err != nil {
					return stopped(ctx, err, "nothing was removed")
				}
			}
			if err := editor.Remove(ctx, args[0]); err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(map[string]string{"removed": args[0]})
			}
			_, err = fmt.Fprintf(a.out, "removed the credential %q from %s\n", args[0], where)
			return err
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// confirm asks on the terminal. Anything but yes is an error.
func (a *app) confirm(ctx context.Context, question string) error {
	terminal, ok := a.terminal()
	if !ok {
		return job.Errorf(job.BadRequest, "Give --yes", "standard input is not a terminal: nobody can be asked")
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	line, err := interruptible(ctx, func() (string, error) { return bufio.NewReader(terminal).ReadString('\n') })
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return job.Errorf(job.BadRequest, "", "not confirmed: nothing was removed")
}
