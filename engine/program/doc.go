// Package program runs the programs of the operating system that the engine
// needs: Find looks where the PATH of a service may not lead, Start starts one
// that does not outlive this process, and a Tail keeps the end of what it says.
//
// A program that Start has started ends at the latest with this process, however
// that ends. What a program's exit code and its words mean is the business of
// those who call it.
package program
