package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"imageport/job"
)

// bootFlags ask for a boot proof.
type bootFlags struct {
	boot       bool
	screenshot string
}

func (f *bootFlags) add(cmd *cobra.Command, boot string) {
	cmd.Flags().BoolVar(&f.boot, "boot", false, boot)
	cmd.Flags().StringVar(&f.screenshot, "screenshot", "", "new `file` for the screen at the end of --boot (PNG)")
}

// picture is where the screen goes. A file that cannot be made is found out
// here, because it is no reason to fail after the work.
func (f *bootFlags) picture() (picture, error) {
	if f.screenshot != "" && !f.boot {
		return "", job.Errorf(job.BadRequest, "Add --boot, or leave --screenshot out", "--screenshot shows how --boot ends, and nothing is to be booted")
	}
	p := picture(f.screenshot)
	if p == "" {
		return p, nil
	}
	file, err := p.create()
	if err != nil {
		return "", err
	}
	if err := errors.Join(file.Close(), os.Remove(f.screenshot)); err != nil {
		return "", fmt.Errorf("--screenshot: %w", err)
	}
	return p, nil
}

// picture is the path of a PNG file that is to be made; empty where none is.
type picture string

// create makes the file, where there is none.
func (p picture) create() (*os.File, error) {
	f, err := os.OpenFile(string(p), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, job.Errorf(job.OutputExists, "Give the name of a new file", "there is a file %s already, for --screenshot", p)
	}
	if err != nil {
		return nil, fmt.Errorf("--screenshot: %w", err)
	}
	return f, nil
}

// save makes the file and writes the PNG.
func (p picture) save(png []byte) error {
	f, err := p.create()
	if err != nil {
		return err
	}
	_, err = f.Write(png)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("--screenshot: %w", err)
	}
	return nil
}

// keepScreen saves the screen at the end of a boot, above all of one that
// failed. What was on it at ^C nobody asked for.
func (a *app) keepScreen(p picture, proof job.BootProof, failed error) error {
	if p == "" || len(proof.Screenshot) == 0 || errors.Is(failed, context.Canceled) {
		return failed
	}
	if err := p.save(proof.Screenshot); err != nil {
		return errors.Join(failed, err)
	}
	if failed != nil {
		fmt.Fprintf(a.err, "imageport: the screen at the end of the boot is in %s\n", p)
	}
	return failed
}
