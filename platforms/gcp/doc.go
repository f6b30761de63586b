// Package gcp is the platform of Google Cloud: Compositing Engines (CEs) are
// instances of Compute Engine, output disks are persistent disks.
//
// The cloud is the only memory. An instance's name, unique in its zone, is the
// lock; of instances of one name in several zones the one that was made first
// counts, and the others are removed. Marks are made by the call that makes what
// they are on: an instance has them in its metadata, a disk in its description,
// both by hash and name in labels that can be asked for. A verb looks first,
// changes one thing at a time, and waits for the operation that it started, so
// that it can be cut short anywhere and done again by anybody. Each attempt has
// a request id of its own: with that of an earlier one it would only be told
// again how that one went.
//
// An instance has no service account, no address outside of its network, and a
// limit to how long it runs, after which the cloud deletes it with all disks that
// are attached: Stop ends the count, and what Create starts again has it anew.
// An output disk therefore goes with its CE until KeepOutputDisk detaches it.
//
// The package does not follow a CE: what one says when it gives up is in the log
// of its serial port. Images that it imported are left for the next CE.
package gcp
