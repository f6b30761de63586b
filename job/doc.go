// Package job is the vocabulary of imageport: the requests of the three
// operations exactly as the specification prints them, their validation, the
// status and the result of a job, and the codes of everything that can be
// refused. It imports nothing of ours; everything else may import it.
package job
