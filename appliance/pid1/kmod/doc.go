// Package kmod loads kernel modules: by name with what they depend on, and by
// the alias with which a device, a file system or a protocol asks for its
// driver. It is what udev and modprobe do elsewhere, in their smallest form.
//
// The modules and their index are made when the appliance is built. There are
// no options for modules, no blacklist and no unloading.
package kmod
