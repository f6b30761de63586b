// Package deb reads Debian binary packages and compares their versions.
//
// It guarantees that a damaged package is refused and never read in part, that
// paths are absolute and clean, and that what is unpacked is bounded.
// It does not check signatures or hashes, run maintainer scripts, resolve
// dependencies or write anything: verify a package before reading it.
package deb
