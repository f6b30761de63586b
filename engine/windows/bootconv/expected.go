package bootconv

import (
	"encoding/hex"
	"strings"

	"github.com/google/uuid"

	"imageport/engine/windows/bootcheck"
)

// Expected is what must be found on the converted disk, for package bootcheck:
// it is told what, not how it was written.
func (p *Plan) Expected() bootcheck.Expected {
	want := bootcheck.Expected{
		Signature:      p.signature,
		DiskGUID:       p.table.DiskGUID,
		MountedDevices: map[string]uuid.UUID{},
	}
	for _, e := range p.table.Entries {
		want.Partitions = append(want.Partitions, bootcheck.Partition{
			Number: e.Index + 1, Type: e.Type, ID: e.ID, FirstLBA: e.FirstLBA, LastLBA: e.LastLBA, Attributes: e.Attributes, Name: e.Name,
		})
		for _, r := range p.Registry {
			if strings.HasSuffix(r.After, hex.EncodeToString(onDisk(e.ID))) {
				want.MountedDevices[r.Value] = e.ID
			}
		}
	}
	for _, f := range p.espFiles() {
		want.ESPFiles = append(want.ESPFiles, bootcheck.File{Path: f.Target, Size: f.Size, Data: f.data})
	}
	return want
}
