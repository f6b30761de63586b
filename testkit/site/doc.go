// Package site is a whole installation on loopback: a Samba with a vDisk, a
// Temporal dev server, a wallet with a generated password, the configuration,
// and workers of the program under test. The end-to-end tests, the demo and
// the benchmark run on it. Nothing outlives the process that made it.
package site
