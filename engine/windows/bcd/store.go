package bcd

import (
	"errors"
	"fmt"
	"strconv"

	"imageport/engine/windows/hive"
)

// Errors of this package wrap one of these, or hive.ErrDirty.
var (
	ErrCorrupt            = errors.New("boot configuration store is corrupt")
	ErrNoDefaultEntry     = errors.New("boot configuration store has no usable default entry")
	ErrDefaultOnOtherDisk = errors.New("the default boot entry is on another disk")
	ErrFileOnESP          = errors.New("a boot entry needs a file on the partition that becomes the EFI system partition")
)

const (
	descriptionKey = "Description"
	objectsKey     = "Objects"
	elementsKey    = "Elements"
	elementValue   = "Element"
	typeValue      = "Type"
)

// Store is a boot configuration store in memory: its hive's tree, in which
// Objects\{identifier}\Description has the type of an object and
// Objects\{identifier}\Elements\number the values.
type Store struct {
	root *hive.Key
}

// New is a system store without objects.
func New() *Store {
	root := &hive.Key{Name: "NewStoreRoot"}
	root.Create(descriptionKey).
		Set(hive.SZ("KeyName", "BCD00000000")).
		Set(hive.DWORD("System", 1)).
		Set(hive.DWORD("TreatAsSystem", 1))
	root.Create(objectsKey)
	return &Store{root}
}

// Open reads the store in a hive's tree, and changes that tree when it is
// changed.
func Open(root *hive.Key) (*Store, error) {
	for _, name := range []string{descriptionKey, objectsKey} {
		if root.Key(name) == nil {
			return nil, fmt.Errorf("%w: no key %q below %q", ErrCorrupt, name, root.Name)
		}
	}
	return &Store{root}, nil
}

// Read reads the store in the bytes of a hive, and tells the hive's version. A
// hive with pending transactions is hive.ErrDirty, other damage ErrCorrupt.
func Read(b []byte) (s *Store, version uint32, err error) {
	h, err := hive.Parse(b)
	if errors.Is(err, hive.ErrDirty) || err == nil && h.Dirty() {
		return nil, 0, fmt.Errorf("boot configuration store: %w", hive.ErrDirty)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	root, err := h.Root()
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	s, err = Open(root)
	return s, h.Version(), err
}

// Root is the tree of the store, for hive.Build.
func (s *Store) Root() *hive.Key { return s.root }

// Objects lists the objects, in the order of their identifiers' text. Keys that
// are not named by an identifier are left out.
func (s *Store) Objects() []Object {
	var list []Object
	for _, k := range s.root.Key(objectsKey).Subkeys {
		if o, err := readObject(k); err == nil {
			list = append(list, o)
		}
	}
	return list
}

// Object finds an object.
func (s *Store) Object(id GUID) (Object, bool) {
	k := s.root.Key(objectsKey, Braced(id))
	if k == nil {
		return Object{}, false
	}
	o, err := readObject(k)
	return o, err == nil
}

// AddObject adds an object without elements, or gives the existing one another
// type.
func (s *Store) AddObject(id GUID, t ObjectType) Object {
	k := s.root.Create(objectsKey, Braced(id))
	k.Create(descriptionKey).Set(hive.DWORD(typeValue, uint32(t)))
	k.Create(elementsKey)
	return Object{ID: id, Type: t, key: k}
}

// RemoveObject removes an object, but not what refers to it.
func (s *Store) RemoveObject(id GUID) { s.root.Key(objectsKey).DeleteKey(Braced(id)) }

// PartitionUse is a partition named somewhere in a store.
type PartitionUse struct {
	Object  GUID
	Type    ObjectType
	Element ElementID
	Nested  bool // a file on the partition is the device, not the partition
	Ref     PartitionRef
}

// String says where the partition is named, in bcdedit's words.
func (u PartitionUse) String() string {
	return fmt.Sprintf("%s %s: %s", Name(u.Object), u.Element.Name(u.Type), u.Ref)
}

// PartitionRefs lists all partitions named in device elements, those inside of
// RAM disks, files and virtual disks too, and those of MBR disks in devices of
// unknown kind.
func (s *Store) PartitionRefs() []PartitionUse {
	var uses []PartitionUse
	for _, o := range s.Objects() {
		for _, e := range o.Elements() {
			d, ok := o.Device(e)
			if !ok {
				continue
			}
			d.Walk(func(d *Device, depth int) {
				use := PartitionUse{Object: o.ID, Type: o.Type, Element: e, Nested: depth > 0}
				switch d.Kind {
				case KindPartition:
					use.Ref = d.Ref
					uses = append(uses, use)
				case KindUnknown:
					refs, _ := rawRefs(d.Raw)
					for _, use.Ref = range refs {
						uses = append(uses, use)
					}
				}
			})
		}
	}
	return uses
}

// deviceOptions lists the objects that devices name as their options.
func (s *Store) deviceOptions() map[GUID]bool {
	named := make(map[GUID]bool)
	for _, o := range s.Objects() {
		for _, e := range o.Elements() {
			if d, ok := o.Device(e); ok {
				named[d.Options] = true
			}
		}
	}
	return named
}

// Object is an object of a store. Its setters change the store.
type Object struct {
	ID   GUID
	Type ObjectType
	key  *hive.Key
}

func readObject(k *hive.Key) (Object, error) {
	id, err := parseBraced(k.Name)
	if err != nil {
		return Object{}, err
	}
	o := Object{ID: id, key: k}
	if d := k.Key(descriptionKey); d != nil {
		v, _ := d.Value(typeValue)
		t, _ := v.Uint32()
		o.Type = ObjectType(t)
	}
	return o, nil
}

// Elements lists the numbers of the elements, in the store's order.
func (o Object) Elements() []ElementID {
	k := o.key.Key(elementsKey)
	if k == nil {
		return nil
	}
	var list []ElementID
	for _, e := range k.Subkeys {
		if n, err := strconv.ParseUint(e.Name, 16, 32); err == nil && len(e.Name) == 8 {
			list = append(list, ElementID(n))
		}
	}
	return list
}

// value returns an element's value if it is of one of the registry's types that
// its format is stored in.
func (o Object) value(e ElementID, types ...uint32) (hive.Value, bool) {
	k := o.key.Key(elementsKey, e.String())
	if k == nil {
		return hive.Value{}, false
	}
	v, ok := k.Value(elementValue)
	if !ok {
		return v, false
	}
	for _, t := range types {
		if v.Type == t {
			return v, true
		}
	}
	return hive.Value{}, false
}

// String returns a string element.
func (o Object) String(e ElementID) (string, bool) {
	v, ok := o.value(e, hive.String, hive.ExpandString)
	return v.String(), ok
}

// Object returns an element that names an object.
func (o Object) Object(e ElementID) (GUID, bool) {
	v, ok := o.value(e, hive.String)
	if !ok {
		return GUID{}, false
	}
	id, err := parseBraced(v.String())
	return id, err == nil
}

// ObjectList returns an element that names objects; what is not an identifier
// is left out.
func (o Object) ObjectList(e ElementID) ([]GUID, bool) {
	v, ok := o.value(e, hive.MultiString)
	var list []GUID
	for _, s := range v.Strings() {
		if id, err := parseBraced(s); err == nil {
			list = append(list, id)
		}
	}
	return list, ok
}

// Bool returns a boolean element.
func (o Object) Bool(e ElementID) (value, ok bool) {
	v, ok := o.value(e, hive.Binary)
	if !ok || len(v.Data) == 0 {
		return false, false
	}
	return v.Data[0] != 0, true
}

// Int returns an integer element.
func (o Object) Int(e ElementID) (uint64, bool) {
	v, ok := o.value(e, hive.Binary)
	if !ok || len(v.Data) != 8 {
		return 0, false
	}
	return le.Uint64(v.Data), true
}

// Device returns a device element; false also if it is too short to be one.
func (o Object) Device(e ElementID) (Device, bool) {
	v, ok := o.value(e, hive.Binary)
	if !ok || e.Format() != FormatDevice {
		return Device{}, false
	}
	d, err := DecodeDevice(v.Data)
	return d, err == nil
}

func (o Object) set(e ElementID, v hive.Value) {
	o.key.Create(elementsKey, e.String()).Set(v)
}

// SetString sets a string element.
func (o Object) SetString(e ElementID, s string) { o.set(e, hive.SZ(elementValue, s)) }

// SetObject sets an element that names an object.
func (o Object) SetObject(e ElementID, id GUID) { o.set(e, hive.SZ(elementValue, Braced(id))) }

// SetObjectList sets an element that names objects.
func (o Object) SetObjectList(e ElementID, ids ...GUID) {
	var list []string
	for _, id := range ids {
		list = append(list, Braced(id))
	}
	o.set(e, hive.MultiSZ(elementValue, list...))
}

// SetBool sets a boolean element.
func (o Object) SetBool(e ElementID, value bool) {
	data := []byte{0}
	if value {
		data[0] = 1
	}
	o.set(e, hive.Bytes(elementValue, data))
}

// SetInt sets an integer element.
func (o Object) SetInt(e ElementID, n uint64) {
	o.set(e, hive.Bytes(elementValue, le.AppendUint64(nil, n)))
}

// SetIntList sets an element that is a list of integers.
func (o Object) SetIntList(e ElementID, list ...uint64) {
	var data []byte
	for _, n := range list {
		data = le.AppendUint64(data, n)
	}
	o.set(e, hive.Bytes(elementValue, data))
}

// SetDevice sets a device element.
func (o Object) SetDevice(e ElementID, d Device) { o.set(e, hive.Bytes(elementValue, d.Encode())) }

// Remove removes an element, if the object has it.
func (o Object) Remove(e ElementID) {
	if k := o.key.Key(elementsKey); k != nil {
		k.DeleteKey(e.String())
	}
}
