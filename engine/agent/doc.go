// Package agent is the Temporal side of the Compositing Engine (CE): a worker
// that polls the one queue of its job and runs the engine's activities. It has
// no state of its own; whatever it loses, the workflow starts again.
package agent
