// Package runner follows a plan inside a Windows that was started natively: it is
// the state machine of our first-boot service, with that Windows behind [Machine].
//
// It guarantees, whatever is cut off when, that it comes to an end: within the
// plan's boots and deadline, with no step started more than twice without its end
// having been seen, and then disarmed and switched off. It orders a restart only
// after it has put a count of it on the disk: there is no endless loop of them,
// also not on a disk that is full. state.json is written before a step and after
// it, and never tells more than is so.
//
// It does not judge whether a step that reported success was one, beyond noting
// what Detect says: that is read from the disk afterwards. A machine whose disk
// loses what it was told to keep, or whose power is cut before the first write of
// every boot, is bounded by whoever waits for it, not by the runner.
package runner
