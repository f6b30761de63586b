// Package publish is the protocol by which the files that a job has composed get
// their names on a share: they are written under partial names, a claim keeps
// other jobs off the output, what is replaced is set aside, and renames never
// replace. Check and Room are what a preflight asks about the output.
//
// Every step may run again after it was cut off anywhere. A file is never seen
// under its name before it is complete, nothing that somebody else put there is
// replaced or removed, and Finish leaves the output as it is to stay and no
// other file of the job.
//
// It neither writes the files nor looks into them, but for a vDisk's manifest.
package publish
