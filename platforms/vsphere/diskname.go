package vsphere

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"unicode"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
)

const (
	diskExtension = ".vmdk"
	// maxNameBytes is the length of the longest element of a disk's path. The
	// partial name is longer, and VMFS has 255 bytes.
	maxNameBytes = 200
	maxPathBytes = 800
)

// diskName is where an output disk goes.
type diskName struct {
	datastore *entity
	path      string // below the datastore's root, such as "images/x.vmdk"
}

// String gives the datastore path, "[datastore] images/x.vmdk".
func (n diskName) String() string { return datastorePath(n.datastore, n.path) }

func datastorePath(datastore *entity, p string) string {
	return (&object.DatastorePath{Datastore: datastore.name, Path: p}).String()
}

// dir is the directory that the disk is in, "" for the datastore's root.
func (n diskName) dir() string {
	if dir := path.Dir(n.path); dir != "." {
		return dir
	}
	return ""
}

// base is the name of the disk's file.
func (n diskName) base() string { return path.Base(n.path) }

// flat is the name of the file with the disk's bytes, as a vCenter names it.
func (n diskName) flat() string {
	return strings.TrimSuffix(n.base(), diskExtension) + "-flat" + diskExtension
}

// partial is what the disk is called as long as it is the CE's.
func (n diskName) partial(ce string) diskName {
	return diskName{n.datastore, strings.TrimSuffix(n.path, diskExtension) + "." + ce + ".partial" + diskExtension}
}

// parseDiskName reads the spellings of the specification: "[Datastore1]
// images/x.vmdk", "ds:///vmfs/volumes/<uuid>/images/x.vmdk", and the same with
// two slashes only.
func (s *site) parseDiskName(name string) (diskName, error) {
	refuse := func(format string, args ...any) (diskName, error) {
		return diskName{}, platforms.Errorf(platforms.BadRequest, "output disk %q: %s", name, fmt.Sprintf(format, args...))
	}
	const want = "want [datastore] folder/name.vmdk or ds:///vmfs/volumes/ID/folder/name.vmdk"
	var n diskName
	var err error
	if len(name) > maxPathBytes || strings.ContainsFunc(name, unicode.IsControl) {
		return refuse("it is too long, or not text: %s", want)
	}
	if rest, ok := strings.CutPrefix(name, "ds://"); ok {
		volume, ok := strings.CutPrefix(strings.TrimPrefix(rest, "/"), "vmfs/volumes/")
		id, file, ok2 := strings.Cut(volume, "/")
		if !ok || !ok2 {
			return refuse("%s", want)
		}
		if n.datastore = s.datastoreByVolume(id); n.datastore == nil {
			return diskName{}, platforms.Errorf(platforms.NotFound, "output disk %q: no datastore of datacenter %s has the volume %s", name, s.datacenter.name, id)
		}
		n.path = file
	} else {
		var p object.DatastorePath
		if !p.FromString(name) || p.Datastore == "" {
			return refuse("%s", want)
		}
		n.path = p.Path
		if n.datastore, err = pick("output disk: datastore", p.Datastore, s.datacenter.path+"/datastore", s.datastores); err != nil {
			return diskName{}, err
		}
	}
	base := path.Base(n.path)
	switch {
	case n.path == "" || path.Clean("/"+n.path) != "/"+n.path:
		return refuse("%q is no plain path below the datastore: %s", n.path, want)
	case !strings.HasSuffix(base, diskExtension) || base == diskExtension:
		return refuse("it must end with %s", diskExtension)
	case strings.HasPrefix(base, "."):
		return refuse("it begins with a dot")
	case strings.ContainsAny(n.path, `*?"<>|\:[]{}`):
		return refuse(`it has one of the characters * ? " < > | \ : [ ] { }`)
	}
	for element := range strings.SplitSeq(n.path, "/") {
		if len(element) > maxNameBytes {
			return refuse("%.20q… has %d bytes, want %d at most", element, len(element), maxNameBytes)
		}
	}
	// These names a vCenter gives to the parts of other disks.
	for _, suffix := range []string{"-flat", "-delta", "-sesparse", "-ctk", "-rdm", "-rdmp"} {
		if strings.HasSuffix(strings.TrimSuffix(base, diskExtension), suffix) {
			return refuse("a name that ends with %s is that of a part of a disk", suffix+diskExtension)
		}
	}
	return n, nil
}

// datastoreByVolume finds a datastore by what hosts call it below /vmfs/volumes:
// the last element of its URL, or its name.
func (s *site) datastoreByVolume(id string) *entity {
	for _, ds := range s.datastores {
		summary := get[types.DatastoreSummary](ds.properties, "summary")
		if path.Base(strings.TrimRight(cmp.Or(summary.Url, "/"), "/")) == id || ds.name == id {
			return ds
		}
	}
	return nil
}
