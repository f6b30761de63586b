package diskimage

import (
	"time"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
)

// Info describes an image.
type Info struct {
	Name             string `json:"name"`
	Container        string `json:"container"` // "vhdx", "vhd" or "raw"
	Type             string `json:"type"`      // "fixed", "dynamic", "differencing" or "raw"
	VirtualSizeBytes int64  `json:"virtualSizeBytes"`
	SectorBytes      int    `json:"sectorBytes"`   // logical
	FileSizeBytes    int64  `json:"fileSizeBytes"` // of all layers
	// Layers are the files from the base, 0, to the image itself. With a
	// Problem, they are those that could be read, from the lowest.
	Layers []Layer `json:"layers"`
	// Problem is why the image cannot be used; nil if it can.
	Problem *Problem `json:"problem,omitempty"`
}

// Layer describes one file of an image. What its container does not have is
// empty.
type Layer struct {
	Name                string    `json:"name"`
	Container           string    `json:"container"`
	Type                string    `json:"type"`
	VirtualSizeBytes    int64     `json:"virtualSizeBytes"`
	BlockBytes          int64     `json:"blockBytes,omitempty"`
	SectorBytes         int       `json:"sectorBytes"`
	PhysicalSectorBytes int       `json:"physicalSectorBytes"`
	FileSizeBytes       int64     `json:"fileSizeBytes"`
	Modified            time.Time `json:"modified"`
	// ID is what children know the image by: the data write GUID of a VHDX,
	// the unique ID of a VHD.
	ID      string `json:"id,omitempty"`
	Creator string `json:"creator,omitempty"`

	// Of a VHDX.
	FileWriteGUID string `json:"fileWriteGuid,omitempty"`
	VirtualDiskID string `json:"virtualDiskId,omitempty"`
	// DirtyLog: changes are in the log and not in their place yet. The
	// contents are shown as they are with them.
	DirtyLog bool `json:"dirtyLog,omitempty"`

	// Of a VHD.
	Created  *time.Time `json:"created,omitempty"`
	Geometry *Geometry  `json:"geometry,omitempty"`

	// Parent is nil for the base.
	Parent   *Parent  `json:"parent,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Geometry is what old BIOS calls show a guest.
type Geometry struct {
	Cylinders       int `json:"cylinders"`
	Heads           int `json:"heads"`
	SectorsPerTrack int `json:"sectorsPerTrack"`
}

// Parent is the layer below, as it was found, and what the image says of it.
type Parent struct {
	// Name is "" if it was not found.
	Name string `json:"name"`
	// FoundBy is the kind of path that led to it, and Path that path.
	FoundBy string `json:"foundBy"`
	Path    string `json:"path"`
	// Linkage is the ID that the parent must have.
	Linkage string `json:"linkage"`
	// RelativePath, AbsolutePath and VolumePath are as stored.
	RelativePath string `json:"relativePath,omitempty"`
	AbsolutePath string `json:"absolutePath,omitempty"`
	VolumePath   string `json:"volumePath,omitempty"`
}

// Describe describes an open image.
func Describe(c *chain.Chain) Info { return describe(c.Layers()) }

// describe describes an image by its layers, of which there is one at least.
func describe(layers []chain.Layer) Info {
	var in Info
	below := ""
	for _, l := range layers {
		layer := describeLayer(l, below)
		in.Layers = append(in.Layers, layer)
		in.Name, in.Container, in.Type = layer.Name, layer.Container, layer.Type
		in.VirtualSizeBytes, in.SectorBytes = layer.VirtualSizeBytes, layer.SectorBytes
		in.FileSizeBytes += layer.FileSizeBytes
		below = l.Name
	}
	return in
}

func describeLayer(l chain.Layer, below string) Layer {
	d := Layer{
		Name: l.Name, Container: string(l.Container), Type: l.Type,
		VirtualSizeBytes: l.VirtualSize, BlockBytes: l.BlockSize,
		SectorBytes: l.LogicalSectorSize, PhysicalSectorBytes: l.PhysicalSectorSize,
		FileSizeBytes: l.FileSize, Modified: l.ModTime.UTC(),
		ID: l.ID, Creator: l.Creator,
	}
	if l.Parent != nil {
		d.Parent = &Parent{Name: below, FoundBy: l.Parent.Kind, Path: l.Parent.Path}
	}
	if l.VHDX != nil {
		d.addVHDX(*l.VHDX)
	}
	if l.VHD != nil {
		d.addVHD(*l.VHD)
	}
	return d
}

func (d *Layer) addVHDX(info vhdx.Info) {
	d.FileWriteGUID, d.VirtualDiskID = info.FileWriteGUID.String(), info.VirtualDiskID.String()
	d.DirtyLog = info.DirtyLog
	if p := info.Parent; p != nil {
		if d.Parent == nil {
			d.Parent = new(Parent)
		}
		d.Parent.Linkage = p.Linkage.String()
		d.Parent.RelativePath, d.Parent.AbsolutePath, d.Parent.VolumePath = p.RelativePath, p.AbsolutePath, p.VolumePath
	}
}

func (d *Layer) addVHD(info vhd.Info) {
	created := info.Timestamp.UTC()
	d.Created = &created
	d.Geometry = &Geometry{int(info.Geometry.Cylinders), int(info.Geometry.Heads), int(info.Geometry.SectorsPerTrack)}
	d.Warnings = info.Warnings
	if p := info.Parent; p != nil {
		if d.Parent == nil {
			d.Parent = new(Parent)
		}
		d.Parent.Linkage = p.UniqueID.String()
		d.Parent.RelativePath, d.Parent.AbsolutePath = p.RelativePath, p.AbsolutePath
	}
}
