// Package appliance builds the Compositing Engine's virtual machine: pinned
// Debian packages and the static agent become one UEFI program (a unified
// kernel image, UKI), and the files that platforms import it from.
//
// It guarantees the same bytes from the same lock, agent and date, wherever and
// by whomever it is built, without any rights or tools; no shell, no login, no
// program but those that the engine calls; and a bill of materials beside it.
// It does not download (package lock does), compile the agent, or sign the UKI
// but by a command that is given.
package appliance
