// Package azure is an Azure subscription that runs in this process, for tests
// and demonstrations: what Azure's own generated servers (armcompute's package
// fake) read of requests, with state, files and guests behind it. A Cloud is a
// policy.Transporter, to be put under the SDK's clients; the real pollers, token
// credentials and retries of the SDK work against it.
//
// It guarantees that disks are sparse files of their sizes with the content of
// what they were made from; that names are locks, etags are compared, and what
// has a delete option goes with its VM; that an operation takes its time, fails
// as it was told to, and leaves a VM that is Failed; that VMs are switched on and
// off in step with their Guests; that actions which were revoked, tokens which
// have ended and signatures of others get nobody in.
//
// Simulated are regions, networks, quotas of other things than cores, prices and
// the time that anything takes. One operation at a time is in progress for a VM;
// another is a conflict, and a deletion preempts it. Not there are zones, scale
// sets, snapshots, extensions, encryption, locks and policies, and pages of lists.
// What passes here has not been seen with the real Azure.
package azure
