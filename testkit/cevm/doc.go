// Package cevm boots the appliance of the Compositing Engine in QEMU: it builds
// the appliance from this tree once, starts machines with whatever devices a
// test wants, and gives their consoles line by line.
//
// A machine ends with its test, and with the process that started it. Nothing
// is written but to temporary files. A program of the test's can take the place
// of the agent; the machine is then still the appliance with its kernel.
package cevm
