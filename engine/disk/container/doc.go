// Package container is what the readers of VHD and VHDX files have in common:
// the types of images, problems that name a structure and an offset, and a
// cache for tables that the images of a chain share.
//
// It guarantees that a check goes on after a problem and ends after 1000, and
// that a cache keeps to its bytes, however many files it serves.
//
// It knows neither format: vhd and vhdx do.
package container
