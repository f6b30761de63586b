package container

import "fmt"

// Type is how an image stores its disk.
type Type int

// The types of VHD and VHDX files.
const (
	// Fixed images have the whole disk allocated.
	Fixed Type = iota + 1
	// Dynamic images allocate blocks when they are first written.
	Dynamic
	// Differencing images hold what differs from a parent.
	Differencing
)

func (t Type) String() string {
	switch t {
	case Fixed:
		return "fixed"
	case Dynamic:
		return "dynamic"
	case Differencing:
		return "differencing"
	}
	return fmt.Sprintf("Type(%d)", int(t))
}
