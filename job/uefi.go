package job

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// ESPPlacement is where the EFI system partition of a converted disk goes.
type ESPPlacement string

// The placements, in the order in which they are tried.
const (
	PlaceGap    ESPPlacement = "gap"    // into unallocated space
	PlaceReuse  ESPPlacement = "reuse"  // in place of System Reserved
	PlaceShrink ESPPlacement = "shrink" // behind C:, which shrinks for it
)

// ESPPlacements are all of them, in the order in which they are tried.
var ESPPlacements = []ESPPlacement{PlaceGap, PlaceReuse, PlaceShrink}

// BootManager is which of the boot managers that a Windows holds goes to the
// EFI system partition.
type BootManager string

const (
	// BootManager2011 is signed by Microsoft Windows Production PCA 2011, which
	// every firmware with Secure Boot trusts until it revokes it.
	BootManager2011 BootManager = "2011"
	// BootManager2023 is signed by Windows UEFI CA 2023, which firmware has to
	// know. Windows has it since its updates of 2024.
	BootManager2023 BootManager = "2023"
)

// UEFIOptions are the choices of a convertToUefi job. They are ours; the zero
// value is what suits most images.
type UEFIOptions struct {
	// ESPPlacement lists the placements that may be used, in the order in which
	// they are tried; all of them if empty.
	ESPPlacement []ESPPlacement `json:"espPlacement,omitempty"`
	// BootManager is BootManager2011 if empty.
	BootManager BootManager `json:"bootManager,omitempty"`
	// PartitionTypes says what partitions are whose MBR type is not known: the
	// type, such as "0x1c", and PartitionData, PartitionRecovery, PartitionOEM or
	// the GUID of a GPT type.
	PartitionTypes map[string]string `json:"partitionTypes,omitempty"`
}

// What a partition of a type that is not known can be said to be.
const (
	PartitionData     = "data"     // a volume of Windows
	PartitionRecovery = "recovery" // Windows RE
	PartitionOEM      = "oem"      // a maker's own: kept, and hidden
)

// typeESP is the GPT type of the EFI system partition, of which there is to be
// one: that which the conversion makes.
var typeESP = uuid.MustParse("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")

// ParsePartitionType reads a key of PartitionTypes.
func ParsePartitionType(s string) (byte, error) {
	n, err := strconv.ParseUint(s, 0, 8)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not the type of an MBR partition, such as 0x27", s)
	}
	return byte(n), nil
}

// Validate gives the options their canonical form. Its error is a BadRequest
// that lists all that is wrong.
func (o *UEFIOptions) Validate() error {
	var p problems
	o.validate(&p)
	return p.err()
}

func (o *UEFIOptions) validate(bad *problems) {
	for i, p := range o.ESPPlacement {
		o.ESPPlacement[i] = ESPPlacement(strings.ToLower(string(p)))
		if !slices.Contains(ESPPlacements, o.ESPPlacement[i]) {
			bad.add("uefiOptions.espPlacement %q is none of %s, %s, %s", p, PlaceGap, PlaceReuse, PlaceShrink)
		}
	}
	if b := o.BootManager; b != "" && b != BootManager2011 && b != BootManager2023 {
		bad.add("uefiOptions.bootManager %q is neither %s nor %s", b, BootManager2011, BootManager2023)
	}
	types := make([]string, 0, len(o.PartitionTypes))
	//workflowcheck:ignore
	for key := range o.PartitionTypes { // in any order: they are sorted
		types = append(types, key)
	}
	slices.Sort(types)
	said := make(map[byte]string)
	for _, key := range types {
		t, err := ParsePartitionType(key)
		if err != nil {
			bad.add("uefiOptions.partitionTypes: %s", err)
		} else if first, twice := said[t]; twice { // either could win
			bad.add("uefiOptions.partitionTypes: %q and %q are the same type", first, key)
		}
		said[t] = key
		v := o.PartitionTypes[key]
		id, err := uuid.Parse(v)
		switch {
		case slices.Contains([]string{PartitionData, PartitionRecovery, PartitionOEM}, v):
		case err != nil:
			bad.add("uefiOptions.partitionTypes: %q is none of %s, %s, %s, and no GUID", v, PartitionData, PartitionRecovery, PartitionOEM)
		case id == uuid.Nil || id == typeESP:
			bad.add("uefiOptions.partitionTypes: %s is not what a partition of %s can become", v, key)
		}
	}
}
