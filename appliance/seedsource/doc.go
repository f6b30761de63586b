// Package seedsource is where a CE finds its seed: in what its platform tells
// it about itself. The platform is known by its DMI names; what needs no
// network is asked first, because the seed may carry the CE's addresses.
//
// Every read is bounded in time and size, and no error quotes what was read. A
// source that is there but malformed ends the search. The seed is given as it
// was found: what it says is for package job/seed.
package seedsource
