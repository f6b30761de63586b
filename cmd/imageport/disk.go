package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imageport/config"
	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/job"
	"imageport/wallet"
)

func (a *app) diskCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "disk",
		Short: "Look at, check, convert and compare VHD and VHDX images",
		Long: `Look at, check, convert and compare VHD and VHDX images, fixed, dynamic or differencing,
and raw disks. No Temporal and no worker is needed.

An image is a path, or a file on a share: smb://host/share/folder/file or
\\host\share\folder\file, with --credential for the id of its credential in the wallet.
A differencing image is taken with its parents, which lie beside it. Images are only read.`,
		Example: `  imageport disk info win10.3.avhdx
  imageport disk convert win10.3.avhdx win10.raw
  imageport disk check smb://files/pvs/store/win10.vhdx --credential files`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	cmd.AddCommand(a.diskInfoCommand(), a.diskMapCommand(), a.diskCheckCommand(),
		a.diskConvertCommand(), a.diskDiffCommand(), a.diskCreateCommand())
	return cmd
}

// diskFlags are the flags of the commands that read images.
type diskFlags struct {
	credential string
	raw        bool
}

func (f *diskFlags) add(cmd *cobra.Command) {
	addCredential(cmd, &f.credential)
	cmd.Flags().BoolVar(&f.raw, "raw", false, "take an image that has no signature for a raw disk")
}

func addCredential(cmd *cobra.Command, credential *string) {
	cmd.Flags().StringVar(credential, "credential", "", "`id` in the wallet of the credential for images on a share")
}

// place is a file in an open folder.
type place struct {
	share.Store
	name    string
	onShare bool
}

func (p place) folder() chain.Folder {
	if p.onShare {
		return diskimage.OnShare(p.Store)
	}
	return diskimage.Local(p.Store)
}

// openPlace opens the folder of a file. A share is left when ctx ends.
func (a *app) openPlace(ctx context.Context, path, credential string) (place, error) {
	if !strings.HasPrefix(path, `\\`) && !strings.HasPrefix(strings.ToLower(path), "smb://") {
		store, err := diskimage.LocalFolder(filepath.Dir(path))
		return place{Store: store, name: filepath.Base(path)}, err
	}
	where, name, err := share.Parse(path)
	if err != nil {
		return place{}, err
	}
	if name == "" {
		return place{}, job.Errorf(job.BadRequest, "Add the name of the image", "%s names a folder", where.URL())
	}
	if credential == "" {
		return place{}, job.Errorf(job.BadRequest, "Give --credential id", "there is no credential for the share %s", where.URL())
	}
	cfg, err := config.Load(a.config)
	if err != nil {
		return place{}, err
	}
	w, err := wallet.Open(cfg.Wallet)
	if err != nil {
		return place{}, err
	}
	c, err := w.Credential(ctx, credential)
	if err != nil {
		return place{}, err
	}
	user, err := c.UsernamePasswordFor(where.Host)
	if err != nil {
		return place{}, err
	}
	store, err := share.Dial(ctx, where,
		share.Credential{Username: user.Username, Password: user.Password.Reveal(), Domain: user.Domain},
		share.Options{Driver: cfg.ShareDriver})
	return place{Store: store, name: name, onShare: true}, err
}

// openOutput opens the folder of a file that is to be written. It stays open
// when ctx ends, so that what is incomplete can be removed.
func (a *app) openOutput(ctx context.Context, path, credential string) (place, error) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	p, err := a.openPlace(lasting, path, credential)
	if !stop() && err == nil { // ctx has ended after all
		err = fmt.Errorf("open %s: %w", path, ctx.Err())
		p.Close()
	}
	if err != nil {
		cancel()
		return place{}, err
	}
	return p, nil
}

// withImage opens an image for f.
func (a *app) withImage(ctx context.Context, path string, flags diskFlags, f func(*chain.Chain) error) error {
	p, err := a.openPlace(ctx, path, flags.credential)
	if err != nil {
		return err
	}
	defer p.Close()
	c, err := diskimage.Open(ctx, diskimage.Input{Folder: p.folder(), Name: p.name, Raw: flags.raw})
	if err != nil {
		return err
	}
	defer c.Close()
	a.warnOfLogs(diskimage.Describe(c))
	return f(c)
}

// warnOfLogs tells which layers are shown as they are with their logs.
func (a *app) warnOfLogs(in diskimage.Info) {
	for _, l := range in.Layers {
		if l.DirtyLog {
			fmt.Fprintf(a.err, "imageport: warning: %s was not closed properly: its log is not empty, and is applied in memory only\n", l.Name)
		}
	}
}

// diskProgressEvery is how often the progress of a copy is worth showing.
const diskProgressEvery = 100 * time.Millisecond

// showBytes shows how far a step of work is, until end is called.
func (a *app) showBytes(phase, step string) (report func(done, total int64), end func()) {
	steps, end := a.showSteps(phase)
	return func(done, total int64) { steps(job.Progress{Step: step, DoneBytes: done, TotalBytes: total}) }, end
}

// showSteps shows how far work is that has steps, until end is called.
func (a *app) showSteps(phase string) (report func(job.Progress), end func()) {
	p, started := newProgress(a.err, time.Now), time.Now()
	var shown time.Time
	var last string
	report = func(at job.Progress) {
		if now := time.Now(); at.Step != last || at.DoneBytes == at.TotalBytes || now.Sub(shown) >= diskProgressEvery {
			shown, last = now, at.Step
			p.show(job.Status{State: job.StateRunning, Started: started, Phase: job.Phase(phase), Progress: &at})
		}
	}
	return report, p.end
}
