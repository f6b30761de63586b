// Package upgrade performs the parts of upgradePvs that are not those of a
// reverseImage to a working disk: Preflight checks the image and the installer,
// Inject prepares the copy's Windows, Judge tells from the disk what the guest
// made of it, Clean takes back what was put in, Export writes the disk as an
// image, and Prove looks at that once more. It knows nothing of Temporal and
// platforms.
//
// The image is only opened for reading. Everything else works on the working
// disk, which is lost with its Compositing Engine, and on partial files. Inject
// needs a fresh copy; Judge, Clean, Export and Prove may run again after they were
// cut off anywhere.
package upgrade
