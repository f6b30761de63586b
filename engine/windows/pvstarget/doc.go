// Package pvstarget says what there is of the PVS target software in a Windows
// that is not running: its version, as the list of installed programs has it, how
// far Windows Installer and the services agree with that, and whether the Windows
// is in a state in which that software can be upgraded.
//
// Inspect only reads, and refuses only what keeps it from reading. What is good
// enough to be upgraded is Refuse's to say, and whether an upgrade did what it was
// to do, Verify's: of the image alone, never of what an installer said. What is
// told is bounded, whatever is in the registry.
//
// It does not change or repair anything, and knows only programs that are
// installed for all users.
package pvstarget
