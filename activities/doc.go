// Package activities is what the worker of a resource location does for a
// workflow: preflight, the life of a Compositing Engine on its platform, and
// the end of a job on the share. Every activity may run twice, on another
// worker, after a crash between any two of its steps. Failures are job.Errors;
// the interceptor of package durable gives them their Temporal form.
package activities
