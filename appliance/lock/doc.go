// Package lock pins Debian packages by name, version, hash and place in an
// archive, but not by mirror, and gets them.
//
// It guarantees that what it gives is what the lock says, byte for byte,
// whatever the mirror or the folder of downloads holds.
// It does not choose versions, resolve dependencies, unpack or install.
package lock
