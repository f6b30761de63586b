// Package pid1 is all of the Compositing Engine's userland but its work: the
// first process (Main), which starts the agent, buries orphans and switches the
// machine off; and the agent's start (Agent): drivers, seed, network.
//
// The machine ends with its work, with an error, or with its deadline, always:
// every wait has an end. The last line on its consoles says how it went. There
// is one child, no shell, no login and nothing that listens.
package pid1
