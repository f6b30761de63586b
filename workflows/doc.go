// Package workflows holds the durable part of every operation: what happens in
// which order, what is tried again, and what is cleaned up. lifecycle.go and
// compositing_engine.go are the part that the operations share; convert_to_uefi.go
// and its neighbours read top to bottom as the story of one job.
//
// Guarantees: a Compositing Engine is destroyed whatever happens to the job
// short of a termination; a job that ends as canceled or failed leaves nothing
// behind; no input, result or heartbeat carries a secret.
package workflows
