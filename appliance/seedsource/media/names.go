package media

import (
	"encoding/base64"

	"imageport/job/seed"
)

// What a seed is called on each platform.
const (
	// GuestInfo is the key in the extraConfig of a vSphere VM. Its value is
	// Base64.
	GuestInfo = "guestinfo." + seed.Key
	// Xenstore is the key in the xenstore_data of a XenServer VM, and the path
	// below the domain's own. Its value is Base64.
	Xenstore = "vm-data/" + seed.Key
	// FwCfg is the name of QEMU's fw_cfg file. It holds the seed as it is.
	FwCfg = "opt/" + seed.Key
	// Attribute is the key in the metadata of a GCP instance. Its value is the
	// seed as it is.
	Attribute = seed.Key
	// OVFProperty is the key of the property in an OVF environment. Its value
	// is Base64.
	OVFProperty = seed.Key
	// OEMPrefix begins the SMBIOS OEM string; Base64 follows.
	OEMPrefix = seed.Key + ":"
	// File is the file on a disc. It holds the seed as it is.
	File = seed.Key + ".json"
	// OVFFile is the file on a disc that holds an OVF environment.
	OVFFile = "ovf-env.xml"
)

// Base64 is the seed where a platform takes only text: guestinfo, xenstore,
// Azure's userData and customData, OVF properties.
func Base64(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }

// OEMString is the SMBIOS OEM string (structure type 11) that carries the seed.
func OEMString(raw []byte) string { return OEMPrefix + Base64(raw) }
