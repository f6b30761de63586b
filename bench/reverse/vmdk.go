package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"imageport/bench/internal/peers"
	"imageport/testkit/samba"
)

// vmdk is a kind of VMDK that qemu-img makes.
type vmdk struct {
	subformat string
	// flat tells that the disk is a raw file, beside the small one that
	// describes it: so a datastore of vSphere has it.
	flat bool
}

var vmdks = []vmdk{{"monolithicFlat", true}, {"monolithicSparse", false}}

// addVMDKs adds the two steps to a VMDK, of all kinds and with all settings.
func (b *bench) addVMDKs(ctx context.Context, s *samba.Server) {
	descriptor := filepath.Join(b.dir, "out.vmdk")
	for _, kind := range vmdks {
		for _, q := range peers.QEMUs() {
			b.ways = append(b.ways, peers.Way{
				Name: "smbclient get, " + q.Name + ", " + kind.subformat, Peer: twoStepsVMDK, Bytes: b.image.DataBytes,
				Run: func(ctx context.Context) error {
					return b.getAndConvert(ctx, s, func(got string) error { return kind.convert(ctx, q, got, descriptor) })
				},
				Verify: func() error { return kind.verify(ctx, b.image, descriptor) },
				Clean:  func() error { return kind.remove(descriptor) },
			})
		}
	}
}

// convert makes the VMDK of a VHDX. The name of q is the command.
func (v vmdk) convert(ctx context.Context, q peers.QEMU, image, descriptor string) error {
	command := strings.Fields(q.Name)
	args := append(command[1:], "-f", "vhdx", "-O", "vmdk", "-o", "subformat="+v.subformat, image, descriptor)
	return peers.Tool(ctx, command[0], args...)
}

// extent is the file that has the data of a flat disk.
func extent(descriptor string) string {
	return strings.TrimSuffix(descriptor, ".vmdk") + "-flat.vmdk"
}

// verify tells whether the VMDK has the disk of the image.
func (v vmdk) verify(ctx context.Context, image peers.Image, descriptor string) error {
	if v.flat {
		return image.Verify(extent(descriptor))
	}
	raw := descriptor + ".raw"
	err := peers.Tool(ctx, "qemu-img", "convert", "-f", "vmdk", "-O", "raw", descriptor, raw)
	if err == nil {
		err = image.Verify(raw)
	}
	return errors.Join(err, os.Remove(raw))
}

func (v vmdk) remove(descriptor string) error {
	err := os.Remove(descriptor)
	if v.flat {
		err = errors.Join(err, os.Remove(extent(descriptor)))
	}
	return err
}
