package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"imageport/job"
	"imageport/starter"
)

func (a *app) jobsBundleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bundle job file.zip",
		Short: "Save all that is known of a job",
		Long: `Save all that is known of a job as a ZIP file: its status, result, logs, screens, and what
Temporal has recorded of it. What looks like a secret is left out; names of servers, images
and users are in it. The file is written whole or not at all, and replaces none.`,
		Example: `  imageport jobs bundle ips/files/pvs/store/win10.vhdx win10.zip
  imageport jobs bundle 01a20582-8e9a-7b3c-9d21-3f0c9a6f1e55 job.zip`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, part string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault // a file
			}
			return a.completeJobs("")(cmd, args, part)
		},
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.jobs(ctx, func(c *starter.Client) error { return a.saveBundle(ctx, c, args[0], args[1]) })
		}),
	}
}

func (a *app) saveBundle(ctx context.Context, c *starter.Client, id, path string) error {
	exists := func() error {
		return job.Errorf(job.OutputExists, "Give the name of a new file", "there is a file %s already", path)
	}
	if _, err := os.Lstat(path); err == nil {
		return exists()
	}
	var content bytes.Buffer
	if err := c.Bundle(ctx, id, &content); err != nil {
		return err
	}
	err := createWhole(path, content.Bytes())
	if errors.Is(err, fs.ErrExist) {
		return exists()
	}
	if err != nil {
		return job.Errorf(job.BadRequest, "Give the name of a file in a folder that you may write to", "the bundle cannot be saved: %w", err)
	}
	if a.output == outputJSON {
		return a.printJSON(map[string]any{"file": path, "bytes": content.Len()})
	}
	_, err = fmt.Fprintf(a.out, "%s, %s\n", filepath.Clean(path), sizeText(int64(content.Len())))
	return err
}

// createWhole makes a file with that content, or none. One that is there is not
// replaced: the error is fs.ErrExist, wrapped.
func createWhole(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".imageport-*")
	if err != nil {
		return err
	}
	temporary := f.Name()
	defer os.Remove(temporary) // where it still has that name
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, temporary, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system that cannot
		return os.Link(temporary, path)
	}
	return err
}
