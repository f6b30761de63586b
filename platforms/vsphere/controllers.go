package vsphere

import (
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/platforms"
)

const (
	scsiUnits      = 16 // of a bus, the controller's own among them
	scsiOwnUnit    = 7
	scsiBuses      = 4
	newController  = -1 // key of a device that is being made
	firstBusNumber = 0
)

// slot is where a disk is attached.
type slot struct {
	key, unit int32
	added     types.BaseVirtualDevice // the controller, if it is to be added
}

// controller finds a free place on a SCSI controller, on a paravirtual one if
// there is, or adds such a one.
func (v *vm) controller() (slot, error) {
	taken, used := make(map[[2]int32]bool), make(map[int32]bool)
	for _, device := range v.devices {
		if d := device.GetVirtualDevice(); d.UnitNumber != nil {
			taken[[2]int32{d.ControllerKey, *d.UnitNumber}] = true
		}
	}
	var best *slot
	for _, device := range v.devices {
		scsi, ok := device.(types.BaseVirtualSCSIController)
		if !ok {
			continue
		}
		c := scsi.GetVirtualSCSIController()
		used[c.BusNumber] = true
		_, paravirtual := device.(*types.ParaVirtualSCSIController)
		if best != nil && !paravirtual {
			continue
		}
		for unit := int32(0); unit < scsiUnits; unit++ {
			if unit != scsiOwnUnit && !taken[[2]int32{c.Key, unit}] {
				best = &slot{key: c.Key, unit: unit}
				break
			}
		}
		if best != nil && paravirtual && best.key == c.Key {
			return *best, nil
		}
	}
	if best != nil {
		return *best, nil
	}
	for bus := int32(0); bus < scsiBuses; bus++ {
		if !used[bus] {
			return slot{key: newController, added: newDiskController(job.PVSCSI, bus)}, nil
		}
	}
	return slot{}, platforms.Errorf(platforms.BadRequest, "the CE has %d SCSI controllers, and all are full", len(used))
}

// newDiskController gives a controller to be added, or nil if vSphere does not
// have that kind.
func newDiskController(kind job.Controller, bus int32) types.BaseVirtualDevice {
	c := types.VirtualController{VirtualDevice: types.VirtualDevice{Key: newController}, BusNumber: bus}
	scsi := types.VirtualSCSIController{
		VirtualController: c, SharedBus: types.VirtualSCSISharingNoSharing, ScsiCtlrUnitNumber: scsiOwnUnit,
	}
	switch kind {
	case job.PVSCSI:
		return &types.ParaVirtualSCSIController{VirtualSCSIController: scsi}
	case job.LSISAS:
		return &types.VirtualLsiLogicSASController{VirtualSCSIController: scsi}
	case job.LSI:
		return &types.VirtualLsiLogicController{VirtualSCSIController: scsi}
	case job.AHCI:
		return &types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{VirtualController: c}}
	case job.NVMe:
		return &types.VirtualNVMEController{VirtualController: c}
	}
	return nil
}
