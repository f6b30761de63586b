// Package outputdir is the platforms.OutputDisks of platforms whose output
// disks are files in a directory of the worker's machine, and whose CEs are
// those of package cedir. How a CE gets a disk is for the driver to say; names,
// the record, empty files, room, keeping and dropping are here.
//
// A disk stands in the CE's directory, durably, before its file is made, so
// that Discard removes the file whatever happens. Until it is kept, the file is
// in a hidden folder beside its place; then it is renamed, without replacing
// anything. Folders in its name are made for it, and go with it if they are
// empty. Each disk that is made has a serial number that no other one had.
// Linux only.
package outputdir
