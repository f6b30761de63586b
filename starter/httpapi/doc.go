// Package httpapi serves imageport over HTTP: the endpoints of the specification
// and of the Citrix service, under / and under /ips, and an OpenAPI 3.1 document
// of them all. It is thin over package starter, and runs no workflows.
//
// Every request but those for health and the document is of a principal
// (package auth), who sees and does only what his grants allow: a job of another
// resource location is not found. Errors are application/problem+json with the
// code and the remedy of a job.Error. Bodies, headers, times and the number of
// open streams are bounded; no secret is logged or returned.
//
// The package asks nobody who he is (auth does), keeps no state, and knows of
// credentials only what the wallet tells of them.
package httpapi
