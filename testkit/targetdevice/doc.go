// Package targetdevice builds a stand-in for the installer of the PVS target
// device software from its sources: a package for the Windows Installer with the
// product's names, files, services and registry keys, in a program that takes
// /S /v"..." and answers 3010 as the vendor's does. Its product name and version
// resources say that it is a test. Besides the one that works there are
// installers that lie, hang, fail, crash, and restart Windows by themselves.
//
// Nothing of the vendor's is in it: the drivers refuse to be loaded, and the
// service does nothing. It shows how installers and upgrades behave to the
// Windows Installer, the registry and the file system, not what a real one does.
package targetdevice
