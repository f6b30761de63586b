// Package uevent tells what devices come and go: the events that the kernel
// sends to everybody who listens on NETLINK_KOBJECT_UEVENT.
//
// Events may be lost when many come at once; an Event that says so takes their
// place, and the listener has to look for itself. The package only listens: it
// makes no device nodes and loads no drivers.
package uevent
