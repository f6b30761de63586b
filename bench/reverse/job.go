package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/google/uuid"

	"imageport/bench/internal/peers"
	"imageport/engine/copyfile"
	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/testkit/samba"
)

// job is one copy of ours, as a child process gets it.
type job struct {
	Host               string
	Port               int
	Username, Password string
	Image, Raw         string
}

func (b *bench) job(s *samba.Server) job {
	return job{s.Host, s.Port, s.Username, s.Password, filepath.Base(b.image.Path), b.raw}
}

// open opens the image as imageport disk convert does, for f.
func (j job) open(ctx context.Context, f func(*chain.Chain) error) error {
	loc := share.Location{Host: j.Host, Port: j.Port, Share: samba.DefaultShare}
	store, err := share.Dial(ctx, loc, share.Credential{Username: j.Username, Password: j.Password}, share.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	c, err := diskimage.Open(ctx, diskimage.Input{Folder: diskimage.OnShare(store), Name: j.Image})
	if err != nil {
		return err
	}
	return errors.Join(f(c), c.Close())
}

// copy makes the raw file and leaves it in the page cache, as the peers do.
func (j job) copy(ctx context.Context) error {
	return j.open(ctx, func(c *chain.Chain) error {
		dst, err := copyfile.Create(j.Raw, c.Size())
		if err != nil {
			return err
		}
		_, err = copier.Copy(ctx, peers.Unsynced{File: dst}, c, copier.Options{TargetIsZero: true})
		return errors.Join(err, dst.Close())
	})
}

// convert is all that the command does: the file is synced, and gets its name
// when it is complete.
func (j job) convert(ctx context.Context) error {
	return j.open(ctx, func(c *chain.Chain) error {
		folder, err := share.Dir(filepath.Dir(j.Raw))
		if err != nil {
			return err
		}
		defer folder.Close()
		_, err = diskimage.Convert(ctx, c, diskimage.Output{
			Store: folder, Name: filepath.Base(j.Raw),
			Format:   diskimage.Format{Container: chain.Raw},
			Identity: diskimage.Identity{ID: uuid.New()},
		}, func(int64, int64) {})
		return err
	})
}

// inChild copies in a process of its own, and gives the most memory in bytes
// that it had.
func (j job) inChild(ctx context.Context) (peak int64, err error) {
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	in, err := json.Marshal(j)
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, program, "-child")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("copy in a process of its own: %w", err)
	}
	return strconv.ParseInt(string(bytes.TrimSpace(out)), 10, 64)
}

// beChild is the other end of inChild.
func beChild(ctx context.Context) error {
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		return err
	}
	if err := j.copy(ctx); err != nil {
		return err
	}
	peak, err := peers.PeakMemory()
	fmt.Println(peak)
	return err
}
