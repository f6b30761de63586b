// Package selfsigned makes the certificate of a simulated server: its own CA, as a
// hypervisor has one that nobody has given another. It names the addresses that the
// server listens on, is valid for longer than any lab, and is kept nowhere.
package selfsigned
