package bootcheck

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Elements of a boot configuration that are followed. The first digit is the
// class of object that has it, the second one the format.
const (
	elemDevice      = 0x11000001 // where the program is
	elemPath        = 0x12000002 // and its path there
	elemDescription = 0x12000004
	elemRecovery    = 0x14000008 // what to start instead
	elemOSDevice    = 0x21000001 // where Windows is
	elemSystemRoot  = 0x22000002 // and its folder there
	elemDefault     = 0x23000003 // of the boot manager
	elemResume      = 0x23000003 // of a loader: what wakes it
	elemMenu        = 0x24000001
	elemNext        = 0x24000002 // to start once, at the next start
	elemTools       = 0x24000010
	elemSDIDevice   = 0x31000003 // of a RAM disk's options
	elemSDIPath     = 0x32000004

	formatDevice = 1
)

// Types of objects.
const (
	typeBootManager = 0x10100002
	typeLoader      = 0x10200003
)

var bootManager = uuid.MustParse("9dea862c-5cdd-4e70-acc1-f32b344d4795")

// Limits of a store. Windows' own has some 20 objects and 150 elements.
const (
	mostObjects     = 1 << 12
	mostElementsAll = 1 << 16
)

// store is a boot configuration store.
type store struct {
	objects map[uuid.UUID]*object
	order   []*object
}

// object is one of its objects.
type object struct {
	id       uuid.UUID
	kind     uint32
	elements []element
}

type element struct {
	id   uint32
	data []byte
}

// readStore reads the objects of a store that lies in a hive.
func readStore(h *hive) (*store, error) {
	root, ok, err := h.find("Objects")
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, wrong("%s: there is no key Objects", h.what)
	}
	s := &store{objects: map[uuid.UUID]*object{}}
	left := mostElementsAll
	for sub, err := range root.subkeys() {
		if err != nil {
			return nil, err
		}
		o, err := readObject(sub, &left)
		if err != nil {
			return nil, err
		}
		if _, twice := s.objects[o.id]; twice || len(s.order) == mostObjects {
			return nil, wrong("%s: object {%v} is there twice, or follows %d others", h.what, o.id, mostObjects)
		}
		s.objects[o.id] = o
		s.order = append(s.order, o)
	}
	return s, nil
}

func readObject(k key, left *int) (*object, error) {
	id, err := uuid.Parse(k.name)
	if err != nil {
		return nil, wrong("%s: object %q has no GUID for a name", k.h.what, k.name)
	}
	o := &object{id: id}
	for sub, err := range k.subkeys() {
		switch {
		case err != nil:
			return nil, err
		case strings.EqualFold(sub.name, "Description"):
			v, ok, err := sub.value("Type")
			if err != nil {
				return nil, err
			}
			if !ok || len(v.data) != 4 {
				return nil, wrong("%s: object {%v} has no type", k.h.what, id)
			}
			o.kind = binary.LittleEndian.Uint32(v.data)
		case strings.EqualFold(sub.name, "Elements"):
			if err := o.readElements(sub, left); err != nil {
				return nil, err
			}
		}
	}
	return o, nil
}

func (o *object) readElements(k key, left *int) error {
	for sub, err := range k.subkeys() {
		if err != nil {
			return err
		}
		id, err := strconv.ParseUint(sub.name, 16, 32)
		if err != nil {
			return wrong("%s: object {%v} has an element %q, expected eight hexadecimal digits", k.h.what, o.id, sub.name)
		}
		if *left--; *left < 0 {
			return wrong("%s: more than %d elements", k.h.what, mostElementsAll)
		}
		v, ok, err := sub.value("Element")
		if err != nil {
			return err
		}
		if ok {
			o.elements = append(o.elements, element{uint32(id), v.data})
		}
	}
	return nil
}

// raw gives an element's data.
func (o *object) raw(id uint32) ([]byte, bool) {
	for _, e := range o.elements {
		if e.id == id {
			return e.data, true
		}
	}
	return nil, false
}

// text gives a string.
func (o *object) text(id uint32) string {
	b, _ := o.raw(id)
	return utf16Text(b)
}

// list gives the objects that an element names, which is one or many: they are
// strings, each with a NUL behind it. What is no GUID is left out of it.
func (o *object) list(id uint32) []uuid.UUID {
	b, _ := o.raw(id)
	var list []uuid.UUID
	for len(b) >= 2 {
		s := utf16Text(b)
		b = b[min(len(b), 2*len(s)+2):] // a GUID has no character beyond ASCII
		if id, err := uuid.Parse(s); err == nil {
			list = append(list, id)
		}
	}
	return list
}

// title names the object to people.
func (o *object) title() string {
	if s := o.text(elemDescription); s != "" {
		return "\"" + s + "\" {" + o.id.String() + "}"
	}
	return "{" + o.id.String() + "}"
}

// isDevice tells whether an element's data describes a device.
func (e element) isDevice() bool { return e.id>>24&0xf == formatDevice }
