// Package starter is the Go client of imageport for other services: it starts,
// shows, lists, watches and cancels jobs and batches over any Temporal client.
//
// A request is checked before anything is started, and an image has one
// running job at a time. Client.Only gives a client that knows of some resource
// locations only. Every refusal and every failure of a job is a
// *job.Error; other errors are the context's, and those of a Temporal server
// that will not serve the client. The package needs no share, wallet or
// platform, and runs no workflows: that is package worker.
//
// A job is named by its id (job.Status.JobID), which stands for the latest job
// on the image, or by the id of one run (job.Status.RunID).
package starter
