package vsphere

import (
	"context"
	"net/url"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/types"
)

// properties are those of one object of the inventory, by their paths. What
// the user may not see, and what is not set, is missing.
type properties map[string]any

// get gives a property, or the zero value if it is missing.
func get[T any](p properties, path string) T {
	v, _ := p[path].(T)
	return v
}

// read gives properties of one object.
func (s *session) read(ctx context.Context, ref types.ManagedObjectReference, paths ...string) (properties, error) {
	content, err := s.retrieve(ctx, types.PropertyFilterSpec{
		ObjectSet: []types.ObjectSpec{{Obj: ref}},
		PropSet:   []types.PropertySpec{{Type: ref.Type, PathSet: paths}},
	})
	if err != nil {
		return nil, err
	}
	return content[ref], nil
}

// retrieve gives the properties of all objects that the filter selects, in one
// call if they are not very many.
func (s *session) retrieve(ctx context.Context, filter types.PropertyFilterSpec) (map[types.ManagedObjectReference]properties, error) {
	res, err := property.DefaultCollector(s.client).RetrieveProperties(ctx, types.RetrieveProperties{
		SpecSet: []types.PropertyFilterSpec{filter},
	})
	if err != nil {
		return nil, err
	}
	found := make(map[types.ManagedObjectReference]properties, len(res.Returnval))
	for _, o := range res.Returnval {
		p := make(properties, len(o.PropSet))
		for _, d := range o.PropSet {
			p[d.Name] = d.Val
		}
		found[o.Obj] = p
	}
	return found, nil
}

// child gives the child of that name of a folder, or nil.
func (s *session) child(ctx context.Context, folder types.ManagedObjectReference, name string) (*types.ManagedObjectReference, error) {
	found, err := object.NewSearchIndex(s.client).FindChild(ctx, folder, name)
	if err != nil || found == nil {
		return nil, err
	}
	ref := found.Reference()
	return &ref, nil
}

// plain gives an entity's name as people write it: the inventory has slashes,
// backslashes and percent signs in names escaped as in URLs.
func plain(name string) string {
	if s, err := url.PathUnescape(name); err == nil {
		return s
	}
	return name
}
