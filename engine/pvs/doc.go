// Package pvs knows how Citrix Provisioning keeps a vDisk's versions in a store:
// the names of their files, the manifest that lists them, and what to type on a
// PVS server to have a new one.
//
// It guarantees that a name or a manifest that could be read in two ways, or that
// PVS would refuse, is an error, that a manifest keeps every byte that the new
// version does not concern, and that equal arguments give equal results.
//
// It does not touch files or PVS, and knows nothing of what is in a properties
// file or a disk: names, listings and bytes in, names and bytes out.
//
// Citrix publishes no schema of the manifest. The fields and their values are
// those of Get-PvsDiskVersion in the PVS PowerShell programming guide; the
// elements are those of manifests that PVS is known to import.
package pvs
