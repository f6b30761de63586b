// Command copy measures the copier on local files: a dynamic VHDX of mixed
// data to a sparse raw file, side by side with qemu-img convert.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"imageport/bench/internal/peers"
	"imageport/engine/copyfile"
	"imageport/engine/disk/copier"
	"imageport/engine/disk/vhdx"
)

func main() {
	rounds := flag.Int("n", 7, "rounds to measure, after one to warm up")
	data := flag.Int("data", 1024, "MiB of data on the disk, which is three times as big")
	peers.Main(func(ctx context.Context, dir string) error {
		return run(ctx, dir, *rounds, int64(*data)<<20)
	})
}

func run(ctx context.Context, dir string, rounds int, data int64) error {
	image, err := peers.MakeImage(ctx, dir, data)
	if err != nil {
		return err
	}
	raw := filepath.Join(dir, "out.raw")
	var ways []peers.Way
	add := func(name, peer string, goals []peers.Goal, convert func(context.Context) error) {
		ways = append(ways, peers.Way{
			Name: name, Peer: peer, Goals: goals, Bytes: data, Run: convert,
			Verify: func() error { return image.Verify(raw) },
			Clean:  func() error { return os.Remove(raw) },
		})
	}
	const peer = "the best qemu-img"
	for _, ours := range []struct {
		name string
		goal float64
		opt  copier.Options
	}{
		{"copier", 1.5, copier.Options{}},
		{"copier, CRC-32C", 0, copier.Options{CRC: true}},
		{"copier, SHA-256", 0, copier.Options{SHA256: true}},
	} {
		ours.opt.TargetIsZero = true
		add(ours.name, "", []peers.Goal{{Peer: peer, AtLeast: ours.goal}}, func(ctx context.Context) error {
			return convert(ctx, image.Path, raw, ours.opt)
		})
	}
	for _, q := range peers.QEMUs() {
		add(q.Name, peer, nil, func(ctx context.Context) error { return q.Convert(ctx, image.Path, raw) })
	}
	results, err := peers.Measure(ctx, rounds, ways)
	if err != nil {
		return err
	}
	fmt.Printf("local VHDX to raw, %d MiB of data, %d rounds; goal: 0.5 CPU s/GB\n\n", data>>20, rounds)
	results.Report(os.Stdout)
	return nil
}

// convert copies a VHDX to a new raw file.
func convert(ctx context.Context, image, raw string, opt copier.Options) (err error) {
	file, err := os.Open(image)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	im, err := vhdx.Open(file, info.Size())
	if err != nil {
		return err
	}
	src, err := im.Disk(nil)
	if err != nil {
		return err
	}
	dst, err := copyfile.Create(raw, src.Size())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	_, err = copier.Copy(ctx, peers.Unsynced{File: dst}, src, opt)
	return err
}
