// Package media is how a seed is put where a CE looks for it: the names and
// encodings that every platform's driver and the CE have in common, and the
// images of discs. What it writes depends on nothing but its arguments.
//
// It does not know what a seed says, and does not read one: that is for
// package seedsource.
package media
