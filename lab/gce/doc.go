// Package gce is a Google Cloud of one project, for the lab, demonstrations and
// tests: Compute Engine, and what of Cloud Storage, of tokens and of permissions
// an application needs around it, over HTTP on this machine.
//
// It guarantees that requests are decoded into the SDK's own messages, and that
// what those do not have is refused; that disks are raw sparse files and have the
// content of what they are made from; that names are unique in a zone; that an
// operation is given again to whoever asks with the same request id, also one that
// failed; that instances are made, changed and ended in step with their Guests.
// Faults can be injected, permissions denied, zones emptied, calls delayed.
//
// Simulated are networks, machine types, and time: what takes minutes is done at
// once. Not there are snapshots, regional disks, suspending, pagination of more
// than lists of instances and disks, and all that the driver does not call. What
// passes here has not been seen with the real cloud.
package gce
