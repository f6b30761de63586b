// Package durable is what our workflows, activities and clients have to agree
// on to run as Temporal workflows: names, search attributes, how a job.Error
// becomes a failure and comes back, and how an activity heartbeats progress.
//
// An activity returns plain errors and calls Report; the Interceptor does the
// rest. It is registered with every worker of ours.
package durable
