package copier

// geometry cuts a disk into units: unit i is unitSize bytes from i*unitSize
// on, the last one what is left.
type geometry struct{ size, unitSize int64 }

// units is how many units the disk has.
func (g geometry) units() int64 {
	n := g.size / g.unitSize
	if g.size%g.unitSize > 0 {
		n++
	}
	return n
}

// bytes is the length in bytes of the units from first to before end.
func (g geometry) bytes(first, end int64) int64 { return g.offset(end) - g.offset(first) }

// offset is where a unit begins; for units() it is the end of the disk.
func (g geometry) offset(unit int64) int64 {
	if unit >= g.units() {
		return g.size
	}
	return unit * g.unitSize
}
