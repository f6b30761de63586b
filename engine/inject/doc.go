// Package inject puts the first-boot runner, its plan and installers into the
// Windows on a disk, reads afterwards what became of them, and takes everything
// back.
//
// It guarantees that the Windows starts the runner only after all that the plan
// needs is on the disk, hashed and read back; that nobody but the system gets at
// it; that every registry hive that it writes is complete, without logs that
// could undo that; and that Clean may be called again, also on a disk that never
// had anything. What it changed is reported, and what Clean needs is in an Undo.
//
// A Clean that was cut off is completed by the next one, on a disk that has room
// in front of its partitions, as Windows leaves it. An Inject that was cut off
// leaves a disk for which nothing is promised, but a hive that was being written
// shows it. Package inject starts no Windows and does not judge what the runner
// says. It trusts nothing that a Windows has written.
package inject
