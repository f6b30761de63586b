// Package disktest is what the tests of disk containers have in common: disks
// and files in memory that count, fail and remember, the changes that a child
// image is tested with, crashes, and 7-Zip as a second reader.
//
// It guarantees that a tool that is missing fails the test, and that the same
// seed gives the same bytes. It knows no container.
package disktest
