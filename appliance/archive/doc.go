// Package archive makes locks of Debian's archives: it looks packages up in
// the lists of a release and pins their newest versions.
//
// It guarantees that a lock follows from lists whose signature, name, date and
// hash were verified with the keyring given, and that the same lists make the
// same lock.
// It does not resolve dependencies or download packages.
package archive
