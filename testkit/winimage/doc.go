// Package winimage makes disks as a Windows 10 PVS vDisk is laid out before its
// conversion to UEFI: an MBR, System Reserved, C: and Recovery as NTFS volumes,
// in any order and with others beside them, with the boot files, registry hives
// and boot configuration that matter to it. A Spec describes one disk, including
// what a converter must refuse; Layouts and Refusals are those to range over.
//
// There is no Windows in it: where Windows' own programs would be, there is the
// boot oracle or noise of the same size. The files are the same in every build
// of a Spec, but the volumes are not byte for byte: the NTFS tools stamp times
// and serial numbers. The hives come from our own writer (engine/windows/hive);
// the device descriptors of the boot configuration and the transaction logs are
// encoded here, and compressed boot files by wimlib-imagex, so that the product's
// reading of them is checked by something else than its writing.
package winimage
