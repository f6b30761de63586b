// Package convert performs convertToUefi against a folder on a share: Preflight
// checks and plans, Compose writes the differencing disk under a partial name
// and verifies it, Publish gives it its name, and Finish ends the job on the
// share. It knows nothing of Temporal and platforms.
//
// The image is only opened for reading. Each step may run again after it was
// cut off anywhere: Compose starts a fresh file, Publish and Finish find out
// what is already done. The output is never seen under its name before it is
// complete, and nothing that somebody else put there is replaced.
package convert
