// Package platforms is what the rest of imageport knows of hypervisors and
// clouds: a driver that makes and removes Compositing Engines (CEs), the seed
// that a CE starts from, the kinds of failure, and the registry of drivers.
//
// A CE has one name, derived from its job, and the platform is the only memory
// of it: every verb of a Driver means "make it so", is safe to run twice, by
// another worker, and after a crash between any two of its steps. Package
// platformtest checks that. Whether a CE is ready for work is not a platform's
// question: it is ready when its agent polls the task queue of its seed.
package platforms
