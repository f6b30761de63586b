package vcenter

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"

	"github.com/vmware/govmomi/object"
)

// File gives the path on this machine of a file or directory in a datastore,
// named "[LocalDS_0] images/x.vmdk". The file need not be there.
func (v *VCenter) File(name string) (string, error) {
	var p object.DatastorePath
	if !p.FromString(name) {
		return "", fmt.Errorf("vcenter: %q is no name in a datastore ([datastore] path)", name)
	}
	dir, ok := v.datastores[p.Datastore]
	if !ok {
		return "", fmt.Errorf("vcenter: %q: there is no datastore %q", name, p.Datastore)
	}
	if p.Path != "" && !filepath.IsLocal(p.Path) {
		return "", fmt.Errorf("vcenter: %q leaves its datastore", name)
	}
	return filepath.Join(dir, p.Path), nil
}

// Files gives the names of all files in the datastores, "[LocalDS_0] path",
// sorted. Directories are not among them.
func (v *VCenter) Files() ([]string, error) {
	var files []string
	for name, dir := range v.datastores {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			files = append(files, fmt.Sprintf("[%s] %s", name, filepath.ToSlash(rel)))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	sort.Strings(files)
	return files, nil
}
