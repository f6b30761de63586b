// Package enrol is the Compositing Engine's (CE's) side of the gateway, and what
// the two say to each other. A CE opens a Session with its seed: it makes a key,
// shows the seed's token once, and gets a certificate for its job, which it
// renews. Everything else goes over the session: the calls of its Temporal
// worker, and the credentials that its job names.
//
// The gateway is known by the CA in the seed, not by the world's. A CE whose
// clock is far off is told so and does not start: it would date what it writes
// wrongly.
package enrol
