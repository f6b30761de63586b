// Package rig has what benchmarks of whole jobs need: a Temporal dev server, a
// site with its worker, and a proxy before its share that counts. It runs jobs of
// the specification's requests, and gives their histories.
//
// Everything that it starts has ended when Run returns. It measures nothing but
// what a client sees and the proxy counts, and asserts nothing.
package rig
