// Package kmsg logs to the kernel's log, and so to every console of the
// machine: the screen and the serial port that a platform keeps.
//
// A record is one line with a level, whatever the message has in it; long ones
// are split; words that are told to be secret are left out. The package does
// not read the log, and keeps nothing.
package kmsg
