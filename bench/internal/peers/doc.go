// Package peers measures several ways to do one thing side by side: ours, and
// the programs that people would use instead.
//
// It guarantees that the ways take turns, so that what else the machine does
// meets all of them, that a way is only timed after its result was verified,
// and that a ratio is one of medians to the best peer of the same run. It
// asserts nothing, because machines differ.
package peers
