package initramfs

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"imageport/appliance/deb"
)

// ErrKernel: there is no kernel in the packages, or more than one.
var ErrKernel = errors.New("not one kernel")

// Kernel is the kernel of a Debian package, with its modules.
type Kernel struct {
	Release string // as uname -r gives it
	Image   []byte // the bzImage

	files   deb.Tree
	paths   map[string]string // of the modules, by name
	builtin map[string]bool   // modules that are in Image
}

const (
	bootPrefix = "/boot/vmlinuz-"
	maxModule  = 64 << 20 // bytes, unpacked
)

// KernelFile reports whether FindKernel needs a file of a package.
func KernelFile(name string) bool {
	return strings.HasPrefix(name, bootPrefix) || path.Base(name) == "modules.builtin" || moduleName(name) != ""
}

// moduleName is the module that a file has, "" for none: "nls_utf8" for
// /lib/modules/…/nls_utf8.ko.xz.
func moduleName(name string) string {
	base := strings.TrimSuffix(path.Base(name), path.Ext(name))
	if path.Ext(name) == ".ko" {
		return underscored(base)
	}
	if base, ok := strings.CutSuffix(base, ".ko"); ok {
		return underscored(base)
	}
	return ""
}

// FindKernel finds the one kernel in the files of packages.
func FindKernel(files deb.Tree) (*Kernel, error) {
	k := &Kernel{files: files, paths: map[string]string{}, builtin: map[string]bool{}}
	for name, file := range files {
		if release, ok := strings.CutPrefix(name, bootPrefix); ok {
			if k.Image != nil {
				return nil, fmt.Errorf("%w: %s and %s", ErrKernel, k.Release, release)
			}
			k.Release, k.Image = release, file.Data
		}
	}
	if len(k.Image) == 0 {
		return nil, fmt.Errorf("%w: no %s… in the packages", ErrKernel, bootPrefix)
	}
	for name, file := range files {
		if !strings.Contains(name, "/modules/"+k.Release+"/") {
			continue
		}
		if path.Base(name) == "modules.builtin" {
			for line := range strings.Lines(string(file.Data)) {
				k.builtin[moduleName(strings.TrimSpace(line))] = true
			}
		} else if module := moduleName(name); module != "" {
			if twice, ok := k.paths[module]; ok {
				return nil, fmt.Errorf("%w: %s is in %s and %s", ErrModule, module, twice, name)
			}
			k.paths[module] = name
		}
	}
	return k, nil
}

// Has reports whether a module is part of the kernel's image.
func (k *Kernel) Has(module string) bool { return k.builtin[underscored(module)] }

// load unpacks a module. Nil means that it is part of the kernel's image.
func (k *Kernel) load(module string) ([]byte, error) {
	name, ok := k.paths[module]
	if !ok && k.builtin[module] {
		return nil, nil
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s is not in kernel %s", ErrModule, module, k.Release)
	}
	extension := path.Ext(name)
	if extension == ".ko" {
		return k.files[name].Data, nil
	}
	r, err := deb.Decompress(extension, k.files[name].Data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrModule, name, err)
	}
	defer r.Close()
	ko, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrModule, name, err)
	}
	if len(ko) > maxModule {
		return nil, fmt.Errorf("%w: %s has over %d bytes", ErrModule, name, maxModule)
	}
	return ko, nil
}

// The folder of the modules, and the file there that lists them: for each a
// line of its name, the names of the modules that it depends on, parted by
// commas, and its aliases, parted by spaces, with tabs between the three. A
// module follows those that it depends on.
const (
	ModuleDir   = "/lib/modules"
	ModuleIndex = ModuleDir + "/index"
)

// AddModules adds modules and what they depend on, each as ModuleDir/name.ko
// with its signature, and their index. A module that is part of the kernel's
// image needs no file.
func (t *Tree) AddModules(k *Kernel, names []string) error {
	a := moduleAdder{tree: t, kernel: k, state: map[string]bool{}}
	for _, name := range slices.Sorted(slices.Values(names)) {
		if err := a.add(underscored(name)); err != nil {
			return err
		}
	}
	return t.AddFile(ModuleIndex, 0o644, []byte(a.index.String()))
}

// moduleAdder adds modules, dependencies first.
type moduleAdder struct {
	tree   *Tree
	kernel *Kernel
	state  map[string]bool // false: being added, true: added
	index  strings.Builder
}

func (a *moduleAdder) add(name string) error {
	if added, known := a.state[name]; known {
		if !added {
			return fmt.Errorf("%w: %s depends on itself", ErrModule, name)
		}
		return nil
	}
	a.state[name] = false
	ko, err := a.kernel.load(name)
	if err != nil {
		return err
	}
	if ko != nil {
		if err := a.addFile(name, ko); err != nil {
			return err
		}
	}
	a.state[name] = true
	return nil
}

func (a *moduleAdder) addFile(name string, ko []byte) error {
	info, err := readModinfo(ko)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if info.name != name {
		return fmt.Errorf("%w: %s calls itself %s", ErrModule, name, info.name)
	}
	for _, before := range info.before {
		// Many name what the kernel has been built without.
		if _, there := a.kernel.paths[before]; there && !slices.Contains(info.depends, before) {
			info.depends = append(info.depends, before)
		}
	}
	for _, needed := range info.depends {
		if err := a.add(needed); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	fmt.Fprintf(&a.index, "%s\t%s\t%s\n", name, strings.Join(info.depends, ","), strings.Join(info.aliases, " "))
	return a.tree.AddFile(ModuleDir+"/"+name+".ko", 0o644, ko)
}
