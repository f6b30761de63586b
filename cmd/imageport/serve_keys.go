package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"imageport/config"
	"imageport/job"
	"imageport/starter/httpapi/auth"
	"imageport/wallet/atomicfile"
)

func (a *app) serveKeysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Add, list and remove the API keys of the HTTP API",
		Long: `Add, list and remove the API keys of the HTTP API. The file that the configuration names has
their hashes only: a key is shown once, when it is added. A running server sees the change
within a second.`,
		Example: `  imageport serve keys add ci --resource-location 5f3b
  imageport serve keys list`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	cmd.AddCommand(a.serveKeysAddCommand(), a.serveKeysListCommand(), a.serveKeysRemoveCommand())
	return cmd
}

// newKey is what a key that was added is shown as, with -o json.
type newKey struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Key  string `json:"key"`
	auth.Grant
}

func (a *app) serveKeysAddCommand() *cobra.Command {
	var g auth.Grant
	cmd := &cobra.Command{
		Use:   "add name",
		Short: "Add an API key, and print it",
		Long: `Add an API key, and print it to the standard output: it cannot be shown again. The name is
of whom or what the key is for; it stands in the log.`,
		Example: `  imageport serve keys add ci --resource-location 5f3b
  imageport serve keys add dashboard --resource-location '*' --read-only
  imageport serve keys add admin --resource-location '*' --credentials`,
		Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			var added auth.Key
			var secret string
			where, err := a.changeKeys(ctx, func(keys auth.Keys) (more auth.Keys, err error) {
				more, added, secret, err = keys.With(args[0], g, time.Now(), rand.Reader)
				return more, err
			})
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(newKey{added.ID, added.Name, secret, g})
			}
			fmt.Fprintf(a.err, "imageport: the key %q is in %s; keep what follows, it cannot be shown again\n", added.Name, where)
			_, err = fmt.Fprintln(a.out, secret)
			return err
		}),
	}
	cmd.Flags().StringSliceVar(&g.ResourceLocations, "resource-location", nil, "`id` of a resource location that the key is for, * for all; may be given several times")
	cmd.Flags().BoolVar(&g.ReadOnly, "read-only", false, "the key may look at jobs, and nothing else")
	cmd.Flags().BoolVar(&g.Credentials, "credentials", false, "the key may see and change the list of credentials")
	return cmd
}

func (a *app) serveKeysListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the API keys, without the keys themselves",
		Example: `  imageport serve keys list
  imageport serve keys list -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(context.Context, []string) error {
			path, err := a.keysFile()
			if err != nil {
				return err
			}
			keys, err := loadKeys(path)
			if err != nil {
				return err
			}
			return a.printKeys(keys.List(), path)
		}),
	}
}

// shownKey is what is shown of a key with -o json.
type shownKey struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	auth.Grant
}

func (a *app) printKeys(list []auth.Key, path string) error {
	if a.output == outputJSON {
		shown := make([]shownKey, len(list))
		for i, k := range list {
			shown[i] = shownKey{k.ID, k.Name, k.Created, k.Grant}
		}
		return a.printJSON(shown)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintf(a.err, "imageport: there are no API keys in %s\n", path)
		return err
	}
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNAME\tRESOURCE LOCATIONS\tRIGHTS\tCREATED")
	for _, k := range list {
		rights := "start, cancel"
		if k.ReadOnly {
			rights = "look"
		}
		if k.Credentials {
			rights += ", credentials"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, strings.Join(k.ResourceLocations, ","), rights, timeText(k.Created))
	}
	return t.Flush()
}

func (a *app) serveKeysRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove name",
		Short: "Remove an API key, by its name or its id",
		Example: `  imageport serve keys remove ci
  imageport serve keys remove 0123456789ab`,
		Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			var removed auth.Key
			where, err := a.changeKeys(ctx, func(keys auth.Keys) (fewer auth.Keys, err error) {
				fewer, removed, err = keys.Without(args[0])
				return fewer, err
			})
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(map[string]string{"removed": removed.ID})
			}
			_, err = fmt.Fprintf(a.out, "removed the key %q from %s\n", removed.Name, where)
			return err
		}),
	}
}

func (a *app) keysFile() (string, error) {
	cfg, err := config.Load(a.config)
	if err == nil && cfg.Serve.KeysFile == "" {
		err = job.Errorf(job.BadRequest, "Set keys_file under [serve] in the configuration", "there is no place for API keys")
	}
	return cfg.Serve.KeysFile, err
}

// loadKeys reads the keys. A file that is not there has none.
func loadKeys(path string) (auth.Keys, error) {
	text, err := readKeys(path)
	if errors.Is(err, fs.ErrNotExist) {
		return auth.Keys{}, nil
	}
	var keys auth.Keys
	if err == nil {
		keys, err = auth.ParseKeys(text)
	}
	if err != nil {
		return auth.Keys{}, job.Errorf(job.BadRequest, "Correct the file, or restore it from a backup", "%s: %w", path, err)
	}
	return keys, nil
}

// changeKeys changes the file, with no other writer in between. where is its
// path.
func (a *app) changeKeys(ctx context.Context, change func(auth.Keys) (auth.Keys, error)) (where string, err error) {
	path, err := a.keysFile()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	unlock, err := atomicfile.Lock(ctx, filepath.Dir(path))
	if err != nil {
		return "", fmt.Errorf("the API keys in %s: %w", path, err)
	}
	defer unlock()
	keys, err := loadKeys(path)
	if err != nil {
		return "", err
	}
	if keys, err = change(keys); err != nil {
		return "", err
	}
	text, err := keys.Encode()
	if err != nil {
		return "", err
	}
	return path, atomicfile.Writer{}.Replace(path, text)
}
