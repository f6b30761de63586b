// Package cedir keeps the Compositing Engines (CEs) of a platform that has no
// memory of its own: each CE is a process of this machine, with one directory
// that is all there is of it. A driver says how the process is started; marks,
// locks, recovery after a crash, finding and removing are here.
//
// It guarantees that creators and destroyers of a CE, in any number of workers
// that share the state directory, exclude each other; that a CE has one process
// at most; that no other process is ever signalled; and that what a crash
// between any two steps leaves can be told whose it is, and be removed. It
// knows nothing of what the process does. A CE's guest is one more process, with
// a room in that directory: while there is one, the CE has none of its own.
// Linux only.
package cedir
