// Package reading is what is measured on the host and in a Compositing Engine's
// virtual machine alike: reading a virtual disk on a share through the engine.
// Nothing is written. In the machine, a program of its own does it, in the
// place of the agent (command agent).
package reading

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/testkit/samba"
)

const (
	// Image is the file with the disk.
	Image = "disk.vhdx"
	// Rounds are measured, after one to warm up.
	Rounds = 5
	// Username is the server's user.
	Username = "imageport"
)

// Share is the default share of the test kit's Samba.
type Share struct {
	Address  string // host:port
	Password string // of Username
}

// Time is how long each of the rounds took. The connection is part of it.
func (s Share) Time(ctx context.Context) ([]time.Duration, error) {
	var times []time.Duration
	for round := range Rounds + 1 {
		start := time.Now()
		if err := s.read(ctx); err != nil {
			return nil, err
		}
		if round > 0 {
			times = append(times, time.Since(start))
		}
	}
	return times, nil
}

func (s Share) read(ctx context.Context) error {
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("port of %s: %w", s.Address, err)
	}
	loc := share.Location{Host: host, Port: number, Share: samba.DefaultShare}
	store, err := share.Dial(ctx, loc, share.Credential{Username: Username, Password: s.Password}, share.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	c, err := diskimage.Open(ctx, diskimage.Input{Folder: diskimage.OnShare(store), Name: Image})
	if err != nil {
		return err
	}
	_, err = copier.Copy(ctx, nowhere{c}, c, copier.Options{TargetIsZero: true})
	return errors.Join(err, c.Close())
}

// nowhere is a target that keeps nothing.
type nowhere struct{ *chain.Chain }

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nowhere) Sync() error                            { return nil }
