// Package plan is what a Compositing Engine and the runner that it puts into a
// Windows tell each other: plan.json, which says what to do at the next start of
// that Windows, and state.json, which says what was done. Both are read by
// programs that trust nothing about them: a Windows wrote to the disk meanwhile.
package plan
