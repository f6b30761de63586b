// Package initramfs makes the root file system that Linux unpacks into RAM:
// files, devices, kernel modules with their dependencies, and programs with
// their shared libraries.
//
// It guarantees an archive that depends on the files and the date alone, that
// every module has its signature and what it depends on, and that every
// library that an ELF header names is there.
// It does not find what a program opens at run time: name that too. It reads
// nothing but what it is given.
package initramfs
