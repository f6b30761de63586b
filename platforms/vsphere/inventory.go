package vsphere

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
)

// entity is an object of the inventory.
type entity struct {
	ref        types.ManagedObjectReference
	name, path string // the path as in "/DC0/vm/folder", without the root folder
	properties
}

// inventory are the entities of a part of it.
type inventory map[types.ManagedObjectReference]*entity

// traverse is a selection of what a property of a type of objects refers to,
// and from there on the selections of these names.
func traverse(name, kind, path string, next ...string) *types.TraversalSpec {
	t := &types.TraversalSpec{SelectionSpec: types.SelectionSpec{Name: name}, Type: kind, Path: path, Skip: types.NewBool(false)}
	for _, n := range next {
		t.SelectSet = append(t.SelectSet, &types.SelectionSpec{Name: n})
	}
	return t
}

// survey reads the entities that can be reached from root, with their names and
// the properties of their types.
func (s *session) survey(ctx context.Context, root types.ManagedObjectReference, kinds map[string][]string, by ...types.BaseSelectionSpec) (inventory, error) {
	filter := types.PropertyFilterSpec{ObjectSet: []types.ObjectSpec{{Obj: root, Skip: types.NewBool(false), SelectSet: by}}}
	for kind, paths := range kinds {
		filter.PropSet = append(filter.PropSet, types.PropertySpec{Type: kind, PathSet: append([]string{"name", "parent"}, paths...)})
	}
	slices.SortFunc(filter.PropSet, func(a, b types.PropertySpec) int { return cmp.Compare(a.Type, b.Type) })
	found, err := s.retrieve(ctx, filter)
	if err != nil {
		return nil, err
	}
	all := make(inventory, len(found))
	for ref, p := range found {
		if name := get[string](p, "name"); name != "" {
			all[ref] = &entity{ref: ref, name: plain(name), properties: p}
		}
	}
	return all, nil
}

// setPaths gives the entities their paths, which begin with that of root.
func (all inventory) setPaths(root types.ManagedObjectReference, path string) {
	var of func(ref types.ManagedObjectReference, depth int) string
	of = func(ref types.ManagedObjectReference, depth int) string {
		e, ok := all[ref]
		if ref == root || !ok || depth == 0 {
			return path
		}
		parent, ok := e.properties["parent"].(types.ManagedObjectReference)
		if !ok {
			return path
		}
		return of(parent, depth-1) + "/" + e.name
	}
	for ref, e := range all {
		e.path = of(ref, len(all))
	}
}

// of gives the entities of these types, sorted by their paths.
func (all inventory) of(kinds ...string) []*entity {
	var some []*entity
	for ref, e := range all {
		if slices.Contains(kinds, ref.Type) {
			some = append(some, e)
		}
	}
	slices.SortFunc(some, func(a, b *entity) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.ref.Value, b.ref.Value))
	})
	return some
}

// pick gives the one that is wanted: by its name, by its path, or by its path
// below base. The error lists what there is.
func pick(field, wanted, base string, among []*entity) (*entity, error) {
	var found []*entity
	for _, e := range among {
		if e.name == wanted || e.path == "/"+strings.Trim(wanted, "/") || e.path == base+"/"+strings.Trim(wanted, "/") {
			found = append(found, e)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if len(found) > 1 {
		var paths []string
		for _, e := range found {
			paths = append(paths, e.path)
		}
		return nil, platforms.Errorf(platforms.BadRequest, "%s: %q can be any of %s: give its path", field, wanted, strings.Join(paths, ", "))
	}
	if len(among) == 0 {
		return nil, platforms.Errorf(platforms.NotFound, "%s: there is no %q, nor any other that the user may see", field, wanted)
	}
	return nil, platforms.Errorf(platforms.NotFound, "%s: there is no %q; there is %s", field, wanted, near(wanted, among))
}

// near lists the names that are most like the wanted one.
func near(wanted string, among []*entity) string {
	const most = 8
	var names []string
	for _, e := range among {
		names = append(names, e.name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	all := len(names)
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(distance(wanted, a), distance(wanted, b))
	})
	names = names[:min(len(names), most)]
	list := strings.Join(names, ", ")
	if all > most {
		list += fmt.Sprintf(" and %d more", all-most)
	}
	return list
}

// distance is how many letters must be changed, inserted or left out to make
// one word of the other, capitals aside.
func distance(a, b string) int {
	x, y := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j := range y {
			change := diagonal
			if x[i] != y[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(y)]
}
