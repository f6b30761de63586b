// Command firstboot is the service that upgradePvs puts into the Windows of a
// working disk: it follows the plan beside it (firstboot/runner) with the means of
// Windows 10 and Server 2016 or later, x64, as LocalSystem.
//
// It writes to its own folder, its own service key, and to nothing else. It needs
// no network, no user, and no program but those of Windows. It does not remove
// itself: that is done from outside, while the disk is at rest.
package main
