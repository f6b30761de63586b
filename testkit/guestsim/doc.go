// Package guestsim is the machine that a Windows on a disk is started in, for
// tests without a Windows: it does what firmware and Windows would do with the
// disk, from nothing but what is on it. The services and the software registry
// of the disk's hives run in Wine, with the disk's own folders; what they ask of
// the power and change in the registry, the service manager, the Windows
// Installer and files, happens for real and ends up on the disk. The
// folders are Program Files, ProgramData, Windows\Installer and System32\drivers:
// what is written elsewhere on C: is gone at the next start.
//
// It guarantees that every start has processes, file systems and a network of
// its own, with nothing of the host in them but the programs; that nothing stays
// mounted or running when it ends, or is killed; and that a start that is ended
// by power-off or reboot leaves a clean volume and clean hives.
//
// It proves nothing about booting, drivers, devices, sessions, screens or the
// vendor's installer: drivers are never started. After a loss of power NTFS is
// as after the replay of its journal, and the registry of that start is lost, or
// kept, as a whole. Disks have sectors of 512 bytes. It needs root.
package guestsim
