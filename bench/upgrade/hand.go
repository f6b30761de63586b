package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"imageport/bench/internal/peers"
	"imageport/testkit/guestsim"
	"imageport/testkit/samba"
	"imageport/testkit/site"
)

// byHand upgrades the image as people do, and notes what it took without the
// guest.
func (b *bench) byHand(ctx context.Context, q peers.QEMU) error {
	auth, got := filepath.Join(b.scratch, "auth"), filepath.Join(b.scratch, "got.vhdx")
	raw, made := filepath.Join(b.scratch, "disk.raw"), filepath.Join(b.scratch, "made.vhdx")
	command := strings.Fields(q.Name)
	back := append(slices.Clone(command[1:]), "-f", "raw", "-O", "vhdx", "-o", "subformat=dynamic", raw, made)
	var guest time.Duration
	began := time.Now()
	for _, step := range []func() error{
		func() error { return peers.SMBClientGet(ctx, b.Samba, auth, site.Image, got) },
		func() error { return q.Convert(ctx, got, raw) },
		func() error { return os.Remove(got) }, // it would be in the way
		func() error {
			from := time.Now()
			err := guestsim.Install(ctx, raw, b.installer)
			guest = time.Since(from)
			return err
		},
		func() error { return peers.Tool(ctx, command[0], back...) },
		func() error { return os.Remove(raw) },
		func() error { return b.put(ctx, auth, made) },
		func() error { return os.Remove(made) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	b.hand[q.Name] = append(b.hand[q.Name], time.Since(began)-guest)
	return nil
}

// put copies a file to the share, as the output. auth is the file that
// SMBClientGet has written.
func (b *bench) put(ctx context.Context, auth, from string) error {
	return peers.Tool(ctx, "smbclient", "--configfile=/dev/null", "-A", auth, "-p", strconv.Itoa(b.Samba.Port),
		"//"+b.Samba.Host+"/"+samba.DefaultShare, "-c", "put "+from+" "+output)
}
