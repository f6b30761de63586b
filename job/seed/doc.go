// Package seed is what a Compositing Engine (CE) is told when it starts: who it
// is, how to enrol, and until when it lives. The worker writes a seed, drivers
// of platforms carry it unseen, and the CE reads it.
//
// Whoever may look at the CE on its platform can read its seed. There is no
// lasting secret in it: the token is good for one key only, and for minutes.
package seed
