// Package xapi is a XenServer pool without Xen, for the lab, demonstrations and
// tests: XAPI's JSON-RPC over TLS, with VDIs that are files and guests that run.
//
// It guarantees that what is called is what the API has (names, numbers and types
// of parameters, required fields, enumerations, references, roles, from a table
// that a test compares with the official description); that states change, and
// changes are refused with the API's own codes, as in a pool: power states,
// operations that exclude each other, devices, disks in use, space, marks that
// are there already; that disks are sparse files with the content of what they
// are made from; that VMs are switched on, changed and off in step with their
// Guests; and that only its one user gets in. As in a pool, names are not unique,
// and disks outlive their VMs. Errors can be injected, permissions revoked, calls
// watched, cut off and delayed, and sessions ended.
//
// Simulated are: networks, load and space (every disk is thick, as on LVM; its
// size is a multiple of 2 MiB). All VMs run on the coordinator. Both hosts have
// one certificate, where real ones have one each. Refused are unknown fields,
// which a pool ignores. Not there are events, snapshots, suspending, migration,
// tools in guests, imports of VHD, and most of what the driver does not call,
// which is MESSAGE_METHOD_UNKNOWN or NOT_IMPLEMENTED. What passes here has not
// been seen with a real pool.
package xapi
