// Package peversion reads the version resource of a Windows program: what the
// Explorer shows under "Details", and for which processor it is.
//
// It guarantees that it reads a few KiB of the file only, wherever in it they
// lie and however large it is, takes time in proportion to them, and gives an
// error, never a panic, for whatever is not a program. It does not verify
// signatures, and reads no other resources and no Windows Installer packages.
package peversion
