// Package vhd reads and writes VHD files: fixed, dynamic and differencing,
// after the Virtual Hard Disk Image Format Specification 1.0 of 2006 and, where
// that is silent, after the files that Windows 10 makes.
//
// It guarantees that nothing is read from a file whose footer, header and
// locators do not verify, that every block lies in the file and off its
// structures, that memory is bounded whatever sizes a file claims, and that a
// file of ours which was not written to its end is refused, by others too.
// What only Check finds are blocks that share space in the file.
//
// It does not change existing files, resolve the paths of parents, split
// images over several files, or go beyond the format's 2040 GiB.
package vhd
