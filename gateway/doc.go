// Package gateway is the only door between Compositing Engines (CEs) and the
// rest of imageport: a TLS 1.3 server in every resource-location worker.
//
// A CE enrols once with the token of its seed. The job's workflow is the ledger
// of who has: it takes the first key for a CE and no other. Then the CE has a
// certificate of an hour, which it renews while its job runs, and may do three
// things: work on its own task queue as an activity worker, renew, and ask for
// the credentials of the shares that its job names. Everything else is denied
// and logged. What one CE, or one stranger, can take of the worker, of Temporal
// and of the log is bounded.
//
// A gateway keeps no state: tokens and the task tokens that it hands on are
// sealed with a Key that the workers of an installation share, so any of them
// serves any CE, also after a restart. A CE learns no address, namespace or
// credential of Temporal.
package gateway
