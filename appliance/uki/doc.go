// Package uki makes unified kernel images: one UEFI program that holds a boot
// stub, the kernel, its command line and the initramfs, as sections of a PE
// file (UAPI group specification UKI, systemd-stub(7)).
//
// It guarantees a well-formed PE file that depends on its parts alone, and can
// tell whether another program has signed it and changed nothing else.
// It does not sign, and knows nothing of the contents of sections.
package uki
