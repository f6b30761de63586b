package chain_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/disk/chain"
	"imageport/engine/disk/overlay"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
)

var randomChains = flag.Int("chains", 250, "random chains to grow in TestRandomChains, each of 1 to 6 files")

// TestRandomChains grows chains by random writes, compares each with a model
// in memory, and with what the plain reader makes of the same files.
func TestRandomChains(t *testing.T) {
	files := 0
	scratch := make([]byte, maxRandomDisk)
	for seed := range *randomChains {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			g := &grower{TB: t, rng: rand.New(rand.NewPCG(uint64(seed), 3)), folder: newFolder(), sector: 512, scratch: scratch}
			g.base()
			g.check()
			for range g.rng.IntN(6) {
				g.child()
				g.check()
			}
			files += len(g.names)
		})
	}
	t.Logf("%d images in %d chains", files, *randomChains)
}

// maxRandomDisk is the size in bytes of the biggest random disk; most have a
// tenth of it, to have more of them.
const maxRandomDisk = 40 * mib

// grower is a chain that grows.
type grower struct {
	testing.TB
	rng    *rand.Rand
	folder *memFolder
	sector int
	decode func(file, parent []byte) []byte // plainVHDX or plainVHD
	names  []string                         // from the base
	model  []byte                           // what the uppermost disk has to contain
	plain  []byte                           // what the plain reader says it contains

	scratch []byte // for reading the disk
}

func (g *grower) top() string { return g.names[len(g.names)-1] }

// base writes a disk of some sectors in a few blocks.
func (g *grower) base() {
	if g.rng.IntN(3) == 0 {
		g.sector = 4096
	}
	size := g.rng.IntN(5*mib/g.sector) + 1
	if g.rng.IntN(30) == 0 {
		size = g.rng.IntN(maxRandomDisk/g.sector) + 1
	}
	g.model = make([]byte, size*g.sector)
	for range g.rng.IntN(5) {
		off, data := g.write()
		copy(g.model[off:], data)
	}
	const name = "disk"
	var file []byte
	g.decode = plainVHDX
	switch how := g.rng.IntN(6); {
	case how == 0:
		file = writeBaseVHDX(g, name, g.model, vhdx.Options{Type: vhdx.Fixed, LogicalSectorSize: g.sector, BlockSize: mib})
	case how == 1:
		file = writeBaseVHDX(g, name, g.model, vhdx.Options{Type: vhdx.Dynamic, LogicalSectorSize: g.sector, BlockSize: g.blockSize()})
	case how == 2 || g.sector != vhd.SectorSize:
		file = plainBase(g.model, int(g.blockSize()), g.sector, onDisk(guid(name, "data")))
	case how == 3:
		g.decode = plainVHD
		file = writeBaseVHD(g, name, g.model, vhd.Options{Type: vhd.Fixed})
	default:
		g.decode = plainVHD
		file = writeBaseVHD(g, name, g.model, vhd.Options{Type: vhd.Dynamic, BlockSize: g.blockSize() / 2})
	}
	g.put(name, file)
}

// put makes a file the uppermost of the chain.
func (g *grower) put(name string, file []byte) {
	g.names = append(g.names, name)
	g.folder.put(name, file)
	g.plain = g.decode(file, g.plain)
}

func (g *grower) blockSize() uint32 { return mib << g.rng.IntN(3) }

// write makes up a write: anywhere, of a few bytes or a few blocks, often with
// zeros.
func (g *grower) write() (off int64, data []byte) {
	size := len(g.model)
	start := g.rng.IntN(size)
	n := g.rng.IntN(min(size-start, 1<<g.rng.IntN(22))) + 1
	switch g.rng.IntN(4) {
	case 0: // whole blocks, as far as there are any
		start = start / mib * mib
		n = min((n+mib-1)/mib*mib, size-start)
	case 1: // up to the end
		start = size - n
	}
	data = make([]byte, n)
	if g.rng.IntN(3) > 0 {
		var seed [32]byte
		le.PutUint64(seed[:], g.rng.Uint64())
		_, _ = rand.NewChaCha8(seed).Read(data)
	}
	return int64(start), data
}

// child puts a child with some writes on top.
func (g *grower) child() {
	parent := open(g, g.folder, g.top())
	ov := overlay.New(parent)
	for range g.rng.IntN(6) {
		off, data := g.write()
		if _, err := ov.WriteAt(data, off); err != nil {
			g.Fatal(err)
		}
		copy(g.model[off:], data)
	}
	if g.rng.IntN(2) == 0 {
		if err := ov.DropUnchanged(); err != nil {
			g.Fatal(err)
		}
	}
	layers := parent.Layers()
	name := fmt.Sprintf("disk.%d", len(g.names))
	if top := layers[len(layers)-1]; top.VHDX != nil {
		opt := vhdxChild(name, g.top(), *top.VHDX)
		opt.BlockSize = g.blockSize()
		g.put(name, writeVHDX(g, ov, opt))
	} else {
		opt := vhdChild(name, g.top(), *top.VHD)
		opt.BlockSize = g.blockSize() / 2
		g.put(name, writeVHD(g, ov, opt))
	}
}

// check compares the uppermost disk with the model and the plain reader.
func (g *grower) check() {
	g.Helper()
	if !bytes.Equal(g.plain, g.model) {
		g.Fatalf("%s: the plain reader differs from the model", g.top())
	}
	c := open(g, g.folder, g.top())
	if len(c.Layers()) != len(g.names) || c.Size() != int64(len(g.model)) || c.SectorSize() != g.sector {
		g.Fatalf("%d layers, %d bytes in sectors of %d", len(c.Layers()), c.Size(), c.SectorSize())
	}
	p := g.scratch[:len(g.model)]
	if n, err := c.ReadAt(p, 0); n != len(p) || err != nil && err != io.EOF {
		g.Fatalf("ReadAt = %d, %v", n, err)
	}
	if !bytes.Equal(p, g.model) {
		g.Fatalf("%s: the chain differs from the model", g.top())
	}
	for range 8 {
		off := g.rng.IntN(len(p))
		n := g.rng.IntN(min(len(p)-off, 1<<g.rng.IntN(23))) + 1
		if _, err := c.ReadAt(p[:n], int64(off)); err != nil && err != io.EOF {
			g.Fatal(err)
		}
		if !bytes.Equal(p[:n], g.model[off:off+n]) {
			g.Fatalf("%s: %d bytes at %d differ from the model", g.top(), n, off)
		}
	}
	g.checkExtents(c, 0, c.Size())
	first := g.rng.Int64N(c.Size()/int64(g.sector)) * int64(g.sector)
	g.checkExtents(c, first, min(c.Size()-first, int64(g.sector*(1+g.rng.IntN(3000)))))
}

// checkExtents follows the extents of a range to the files.
func (g *grower) checkExtents(c *chain.Chain, off, n int64) {
	g.Helper()
	next := off
	last := disk.Extent{Kind: -1}
	for e, err := range c.Extents(off, n) {
		if err != nil {
			g.Fatal(err)
		}
		if e.Offset != next || e.Length <= 0 || e.Offset%int64(g.sector) != 0 || e.Length%int64(g.sector) != 0 {
			g.Fatalf("extent %+v, expected one at %d", e, next)
		}
		next += e.Length
		want := g.model[e.Offset:next]
		switch e.Kind {
		case disk.ExtentZero:
			if bytes.Count(want, []byte{0}) != len(want) {
				g.Fatalf("extent %+v is not zero", e)
			}
			if last.Kind == disk.ExtentZero {
				g.Fatalf("extents %+v and %+v could be one", last, e)
			}
		case disk.ExtentData:
			file := g.folder.files[g.names[e.Layer]].data
			if !bytes.Equal(file[e.FileOffset:e.FileOffset+e.Length], want) {
				g.Fatalf("extent %+v is not in %s", e, g.names[e.Layer])
			}
			if last.Kind == e.Kind && last.Layer == e.Layer && last.FileOffset+last.Length == e.FileOffset {
				g.Fatalf("extents %+v and %+v could be one", last, e)
			}
		default:
			g.Fatalf("extent %+v of a whole chain", e)
		}
		last = e
	}
	if next != off+n {
		g.Fatalf("extents end at %d, expected at %d", next, off+n)
	}
}
