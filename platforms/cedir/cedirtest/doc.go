// Package cedirtest is what the tests of platforms on package cedir share: a
// harness for platformtest with a state directory and a directory of output
// disks, a worker that dies between two steps, and a look at the processes of
// a CE. It is for Linux, and for tests only.
package cedirtest
