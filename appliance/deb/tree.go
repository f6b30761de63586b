package deb

import (
	"path"
	"slices"
	"strings"
)

// Tree is the files of one or more packages by their absolute, clean paths.
type Tree map[string]File

// maxLinks bounds a chain of symbolic links, as Linux does.
const maxLinks = 40

// Find gives the regular file at a path: symbolic links are followed, and
// /bin, /lib, /lib64 and /sbin are those of /usr, as on every system that
// Debian supports.
func (t Tree) Find(name string) (file File, at string, ok bool) {
	name = path.Clean(name)
	for range maxLinks {
		file, ok = t[name]
		if !ok && mergedWithUsr(name) {
			name = "/usr" + name
			file, ok = t[name]
		}
		if !ok || file.Link == "" {
			return file, name, ok
		}
		if path.IsAbs(file.Link) {
			name = path.Clean(file.Link)
		} else {
			name = path.Join(path.Dir(name), file.Link)
		}
	}
	return File{}, "", false
}

func mergedWithUsr(name string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	return slices.Contains([]string{"bin", "lib", "lib64", "sbin"}, first)
}
