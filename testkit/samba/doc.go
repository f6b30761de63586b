// Package samba runs a real Samba file server for tests and the demo: an smbd of
// its own beside whatever the machine runs, on 127.0.0.1, with a random password.
//
// It guarantees that nothing of the machine's Samba is read or changed, that the
// server is up when Start returns, and that no process is left behind, neither
// by Stop nor by the death of the program, however violent. It starts no nmbd
// and no winbind, and serves the files as the user who started it.
package samba
