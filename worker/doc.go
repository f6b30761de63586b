// Package worker assembles and runs the worker of one resource location: the
// workflows of all operations and the activities behind them, on the task queue
// that is named like the resource location.
//
// A namespace needs our search attributes before the first job; Run registers
// those that are missing. Any number of workers may serve one resource
// location; on the platform "local" they have to share its state directory.
package worker
