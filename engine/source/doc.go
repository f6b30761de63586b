// Package source is the image that a job reads: a VHD or VHDX with its parents
// in a folder on a share. It opens them, tells which version of which files
// they are, compares that with what was approved, and counts what is read.
//
// It guarantees that files are only opened for reading, and that refusals are a
// *job.Error. It does not say what may be done with an image: a log that is not
// empty, for one, is replayed in memory, and the caller's business.
package source
