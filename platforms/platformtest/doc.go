// Package platformtest is the conformance suite of platforms.Driver and
// platforms.OutputDisks. A driver's test passes Run a Harness, which shows the
// suite the platform past the driver and can kill a worker between any two
// steps of a verb. The suite proves idempotency, recovery from crashes and
// complete removal; what is special to one platform is for that driver's own
// tests.
package platformtest
