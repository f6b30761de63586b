// Package platformtest is the conformance suite of platforms.Driver,
// platforms.OutputDisks, platforms.OutputVMs and platforms.Guests. A driver's test passes Run a
// Harness, which shows the suite the platform past the driver and can kill a
// worker between any two steps of a verb; what else a harness can do, it says
// by the optional interfaces here, and the suite runs the cases that need it.
// The suite proves idempotency, recovery from crashes and complete removal;
// what is special to one platform is for that driver's own tests. It presumes
// nothing of the platform: no processes of this machine, no spelling of names.
// The names of its cases are stable: tables of what was tested quote them.
package platformtest
