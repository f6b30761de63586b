package bootconv

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"imageport/engine/disk/gpt"
	"imageport/engine/windows/bcd"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/engine/windows/reagent"
	"imageport/job"
)

// typeOf is what a partition becomes in the GPT.
func (p *planner) typeOf(v *volume) (typ uuid.UUID, attributes uint64, err error) {
	for key, said := range p.opt.PartitionTypes {
		t, err := job.ParsePartitionType(key)
		if err != nil {
			return typ, 0, job.Errorf(job.BadRequest, "Correct the request", "partitionTypes: %w", err)
		}
		if t != v.Type {
			continue
		}
		switch said {
		case job.PartitionData:
			return gpt.TypeBasicData, 0, nil
		case job.PartitionRecovery:
			return gpt.TypeRecovery, gpt.AttrRequired | gpt.AttrNoDriveLetter, nil
		case job.PartitionOEM:
			return gpt.TypeBasicData, gpt.AttrRequired | gpt.AttrNoDriveLetter, nil
		}
		if typ, err = uuid.Parse(said); err != nil {
			return typ, 0, job.Errorf(job.BadRequest, "Correct the request", "partitionTypes: %q: %w", said, err)
		}
		return typ, 0, nil
	}
	typ, attributes, known := gpt.TypeOf(v.Type)
	if !known {
		return typ, 0, job.Errorf(job.UnknownPartitionType, fmt.Sprintf(`Say what it is with uefiOptions.partitionTypes, such as {"%#02x": %q}`, v.Type, job.PartitionOEM),
			"%s has the type %#02x, for which no GPT type is known", v, v.Type)
	}
	return typ, attributes, nil
}

// planStore converts the boot configuration.
func (p *planner) planStore() error {
	out, report, err := bcd.Convert(p.Image.store, p.mapping(p.ESP.Placement), bcd.ConvertOptions{Modified: p.modify})
	if err != nil {
		return storeError(p.system, err)
	}
	p.Plan.store, p.BCD = out, report.Edits
	for _, w := range report.Warnings {
		p.Plan.warn("%s", w.Message)
	}
	summary, err := bcd.Inspect(out)
	if err != nil {
		return storeError(p.system, err)
	}
	if summary.Recovery == uuid.Nil {
		return nil
	}
	p.recovery, err = bcd.Recovery(out, bcd.ConvertOptions{Modified: p.modify})
	if err != nil {
		return storeError(p.system, err)
	}
	return nil
}

// mapping says what becomes of the partitions that the boot configuration names.
func (p *planner) mapping(placement job.ESPPlacement) bcd.Mapping {
	m := bcd.Mapping{
		Signature:        p.mbr.Signature,
		DiskGUID:         p.table.DiskGUID,
		Partitions:       make(map[uint64]uuid.UUID),
		ESP:              p.ESP.ID,
		OS:               p.idOf(p.windows),
		SystemOffset:     uint64(p.system.offset()),
		SystemBecomesESP: placement == job.PlaceReuse,
	}
	for _, v := range p.volumes {
		m.Partitions[uint64(v.offset())] = p.idOf(v)
	}
	return m
}

// idOf is the GUID that a partition gets, unless it becomes the ESP.
func (p *planner) idOf(v *volume) uuid.UUID {
	return p.derive(fmt.Sprintf("partition at LBA %d", v.FirstLBA))
}

// planRegistry rewrites the MountedDevices of this disk: drive letters and
// volume names follow their partitions. Values of other disks stay.
func (p *planner) planRegistry() error {
	const keyName = "MountedDevices"
	h, err := hive.Parse(slices.Clone(p.systemHive))
	if err != nil {
		return hiveError(pathSystem, err)
	}
	key, err := h.Lookup(keyName)
	if errors.Is(err, hive.ErrNotFound) { // Windows makes it when it starts
		key, err = &hive.Key{}, nil
	}
	if err != nil {
		return hiveError(pathSystem, err)
	}
	h.AllowGrowth(len(p.systemOld)) // into the slack behind its bins, no further
	var set []hive.Value
	for _, v := range key.Values {
		if len(v.Data) != 12 || binary.LittleEndian.Uint32(v.Data) != p.mbr.Signature {
			continue
		}
		edit := RegistryEdit{Key: keyName, Value: v.Name, Before: hex.EncodeToString(v.Data)}
		id, known := p.entryAt(binary.LittleEndian.Uint64(v.Data[4:]))
		if !known || id == p.ESP.ID {
			// The partition is gone, or is the ESP now, which has no letter.
			// Deleted before anything is set: it frees cells.
			if err := h.DeleteValue([]string{keyName}, v.Name); err != nil {
				return hiveError(pathSystem, err)
			}
		} else {
			v.Data = append([]byte("DMIO:ID:"), onDisk(id)...)
			edit.After = hex.EncodeToString(v.Data)
			set = append(set, v)
		}
		p.Registry = append(p.Registry, edit)
	}
	for _, v := range set {
		if err := h.SetValue([]string{keyName}, v); err != nil {
			return hiveFull(fmt.Errorf("%s value %q: %w", keyName, v.Name, err))
		}
	}
	if len(p.Registry) > 0 {
		h.Commit(p.modify)
	}
	after := h.Bytes()
	if len(after) > len(p.systemOld) {
		return hiveFull(fmt.Errorf("it has %d bytes, and would need %d", len(p.systemOld), len(after)))
	}
	after = append(after, p.systemOld[len(after):]...)
	if string(after) != string(p.systemOld) {
		p.edits = append(p.edits, fileEdit{pathSystem, after})
	}
	return nil
}

func hiveFull(err error) error {
	return job.Errorf(job.HiveNoSpace, "Boot it once in a maintenance version and shut it down", "%s has no room: %w", pathSystem, err)
}

// planReAgent points the configuration of Windows RE to the GPT disk.
func (p *planner) planReAgent() error {
	if p.reagent == nil {
		return nil
	}
	out, edits, err := reagent.Convert(p.reagent, reagent.Mapping{Signature: p.mbr.Signature, DiskGUID: p.table.DiskGUID})
	edit := fileEdit{pathReAgent, out}
	if err == nil && len(edits) > 0 {
		_, err = p.changes(p.windows.NTFS, edit)
	}
	if err != nil {
		if job.CodeOf(err) == "" || job.CodeOf(err) == job.FileNotEditableInPlace {
			p.Plan.warn("%s stays as it is, so run reagentc /enable in a maintenance version to use Windows RE: %s", pathReAgent, err)
			return nil
		}
		return err
	}
	if len(edits) > 0 {
		p.ReAgent = edits
		p.edits = append(p.edits, edit)
	}
	return nil
}

// entryAt finds the partition of the plan that begins at a byte offset.
func (p *Plan) entryAt(offset uint64) (uuid.UUID, bool) {
	for _, e := range p.table.Entries {
		if e.FirstLBA*uint64(p.table.SectorSize) == offset {
			return e.ID, true
		}
	}
	return uuid.UUID{}, false
}

// changes locates a file edit on the volume, which must hold the file.
func (p *Plan) changes(volume *ntfs.Volume, e fileEdit) ([]ntfs.Edit, error) {
	f, err := volume.Open(e.path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.path, err)
	}
	changes, err := f.Replace(e.data)
	if errors.Is(err, ntfs.ErrNotEditable) {
		return nil, job.Errorf(job.FileNotEditableInPlace, "Check that it is not compressed (compact /u), and boot it once in a maintenance version", "%w", err)
	}
	return changes, err
}

// onDisk gives a GUID's mixed-endian bytes.
func onDisk(id uuid.UUID) []byte {
	b := slices.Clone(id[:])
	b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
	b[4], b[5] = b[5], b[4]
	b[6], b[7] = b[7], b[6]
	return b
}
