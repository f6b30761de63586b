// Command reverse measures what reverseImage does with a disk: a dynamic VHDX
// of mixed data on a share to a sparse raw file, from Samba on loopback. Beside
// it are the two steps that people would take, smbclient get and qemu-img
// convert, to a raw file and to the VMDKs that a hypervisor would get, and
// qemu-img convert alone with an image that is local already.
//
// The disk of a monolithicFlat VMDK is a raw file too: with it the same bytes
// are written.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"imageport/bench/internal/peers"
	"imageport/testkit/samba"
)

func main() {
	rounds := flag.Int("n", 5, "rounds to measure, after one to warm up")
	data := flag.Int("data", 2048, "MiB of data on the disk, which is three times as big")
	cores := flag.Bool("cores", false, "one core for the client and its peers, the others for the servers")
	child := flag.Bool("child", false, "copy what standard input says, and print the peak of memory")
	peers.Main(func(ctx context.Context, dir string) error {
		if *child {
			return beChild(ctx)
		}
		return run(ctx, dir, *rounds, int64(*data)<<20, *cores)
	})
}

// The groups of peers.
const (
	twoSteps     = "smbclient get + qemu-img"
	twoStepsVMDK = "the same to VMDK"
	local        = "qemu-img of a local copy"
)

func run(ctx context.Context, dir string, rounds int, data int64, cores bool) error {
	image, err := peers.MakeImage(ctx, dir, data)
	if err != nil {
		return err
	}
	b := bench{dir: dir, image: image, raw: filepath.Join(dir, "out.raw")}
	plain, err := b.serve(ctx, samba.Options{})
	if err != nil {
		return err
	}
	defer plain.Stop()
	encrypted, err := b.serve(ctx, samba.Options{Encrypt: true})
	if err != nil {
		return err
	}
	defer encrypted.Stop()

	if cores {
		if err := onOneCore(plain.PID(), encrypted.PID()); err != nil {
			return err
		}
	}

	goals := []peers.Goal{{Peer: twoSteps, AtLeast: 3}, {Peer: twoStepsVMDK, AtLeast: 3}, {Peer: local, AtLeast: 1}}
	beside := []peers.Goal{{Peer: twoSteps}, {Peer: twoStepsVMDK}, {Peer: local}}
	toPlain, toEncrypted := b.job(plain), b.job(encrypted)
	b.add("share to raw", "", goals, toPlain.copy)
	b.add("share to raw, encrypted", "", beside, toEncrypted.copy)
	b.add("imageport disk convert, synced", "", beside, toPlain.convert)
	for _, q := range peers.QEMUs() {
		b.add("smbclient get, "+q.Name, twoSteps, nil, func(ctx context.Context) error {
			return b.getAndConvert(ctx, plain, func(got string) error { return q.Convert(ctx, got, b.raw) })
		})
	}
	b.addVMDKs(ctx, plain)
	for _, q := range peers.QEMUs() {
		b.add("local, "+q.Name, local, nil, func(ctx context.Context) error { return q.Convert(ctx, image.Path, b.raw) })
	}
	results, err := peers.Measure(ctx, rounds, b.ways)
	if err != nil {
		return err
	}
	fmt.Printf("VHDX on a share to a native disk, %d MiB of data, %d rounds; goal: 0.5 CPU s/GB\n\n", data>>20, rounds)
	results.Report(os.Stdout)
	for name, j := range map[string]job{"plain": toPlain, "encrypted": toEncrypted} {
		peak, err := j.inChild(ctx)
		if err := errors.Join(err, os.Remove(b.raw)); err != nil {
			return err
		}
		fmt.Printf("peak resident memory of a process that copies, %s: %d MiB (goal: 256)\n", name, peak>>20)
	}
	return nil
}

// bench is what the ways have in common.
type bench struct {
	dir   string
	image peers.Image
	raw   string // what every way makes
	ways  []peers.Way
}

func (b *bench) add(name, peer string, goals []peers.Goal, run func(context.Context) error) {
	b.ways = append(b.ways, peers.Way{
		Name: name, Peer: peer, Goals: goals, Bytes: b.image.DataBytes, Run: run,
		Verify: func() error { return b.image.Verify(b.raw) },
		Clean:  func() error { return os.Remove(b.raw) },
	})
}

// serve starts a server with the image.
func (b *bench) serve(ctx context.Context, opt samba.Options) (*samba.Server, error) {
	opt.Shares = map[string]string{samba.DefaultShare: filepath.Dir(b.image.Path)}
	return samba.Start(ctx, opt)
}

// getAndConvert takes the two steps, and removes the local copy, which is in
// the way then.
func (b *bench) getAndConvert(ctx context.Context, s *samba.Server, convert func(got string) error) error {
	got := filepath.Join(b.dir, "got.vhdx")
	err := peers.SMBClientGet(ctx, s, filepath.Join(b.dir, "auth"), filepath.Base(b.image.Path), got)
	if err != nil {
		return err
	}
	return errors.Join(convert(got), os.Remove(got))
}
