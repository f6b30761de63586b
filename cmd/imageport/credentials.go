package main

import (
	"context"

	"github.com/spf13/cobra"

	"imageport/config"
	"imageport/wallet"
)

func (a *app) credentialsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "credentials",
		Short: "Add, list, show and remove the credentials in the wallet",
		Long: `Add, list, show and remove the credentials in the wallet. Requests name them by id.

The wallet is the one that the configuration names: by default a file that is encrypted for a
key beside it, which the first add makes. Keep a copy of the key elsewhere: without it, the
wallet cannot be read. Secrets are asked for, or read from files; no command prints one.`,
		Example: `  imageport credentials add files --username svc-pvs --domain corp
  imageport credentials list
  imageport credentials remove files`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	cmd.AddCommand(a.credentialsAddCommand(), a.credentialsListCommand(), a.credentialsShowCommand(), a.credentialsRemoveCommand())
	return cmd
}

// openWallet opens the wallet of the configuration. where names it for people.
func (a *app) openWallet() (w wallet.Catalog, where string, err error) {
	cfg, err := config.Load(a.config)
	if err != nil {
		return nil, "", err
	}
	w, err = wallet.Open(cfg.Wallet)
	return w, cfg.Wallet.Where(), err
}

// completeCredentials completes the ids in the wallet.
func (a *app) completeCredentials(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	w, _, err := a.openWallet()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, err := w.List(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ids := make([]cobra.Completion, len(list))
	for i, m := range list {
		ids[i] = cobra.CompletionWithDesc(m.ID, string(m.Type)+" "+m.Username)
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
