// Package catalogue is the installer catalogue of upgradePvs: a folder, on a
// share or local, with the installers that the customer has and catalogue.json,
// which says of each the version, the hash, how it is run and what its exit codes
// mean, and what must be in Windows afterwards.
//
// Parse and Load read it and say all that is wrong with it, with lines; Find
// gives the installer of a version; Steps and Files are what the runner in the
// guest does, and needs for it; Check compares the files with what the catalogue
// says; Add puts an installer in, and keeps what it does not know.
//
// It guarantees that no two installers have the same version and processor, that
// every installer makes a valid plan, and that whoever reads while Add writes
// gets the old or the new catalogue. It does not verify signatures: the hash is
// what tells that a file is the one that was meant. It looks at no Windows, and
// knows no credentials: folders are opened by whom it is given.
package catalogue
