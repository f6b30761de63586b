package ntfs

import (
	"fmt"
	"math"
	"sort"
)

// hole is the lcn of a run that has no clusters and reads as zeros.
const hole = -1

// run maps length clusters of an attribute, from vcn on, to the clusters of
// the volume from lcn on.
type run struct {
	vcn, lcn, length int64
}

// runList is ordered by vcn, without gaps from zero on; neighbours on the
// volume are joined, so that a read costs as few requests as possible.
type runList []run

func (l runList) clusters() int64 {
	if len(l) == 0 {
		return 0
	}
	last := l[len(l)-1]
	return last.vcn + last.length
}

// find is the index of the run that holds vcn, which must be below clusters().
func (l runList) find(vcn int64) int {
	return sort.Search(len(l), func(i int) bool { return l[i].vcn+l[i].length > vcn })
}

// decode appends the runs of mapping pairs. A pair is a byte with the sizes of
// its two numbers, the length of the run, and its lcn as difference from the
// last one, which is absent in holes.
func (l runList) decode(pairs []byte, g geometry) (runList, error) {
	maxVCN := math.MaxInt64 / g.clusterSize
	var lcn int64
	for i := 0; ; {
		if i >= len(pairs) {
			return nil, fmt.Errorf("run list has no end marker")
		}
		head := pairs[i]
		if head == 0 {
			return l, nil
		}
		lengthSize, offsetSize := int(head&0xf), int(head>>4)
		if lengthSize == 0 || lengthSize > 8 || offsetSize > 8 || i+1+lengthSize+offsetSize > len(pairs) {
			return nil, fmt.Errorf("run list, byte %d: malformed run header 0x%02x", i, head)
		}
		length := signed(pairs[i+1 : i+1+lengthSize])
		vcn := l.clusters()
		if length <= 0 || length > maxVCN-vcn {
			return nil, fmt.Errorf("run list, byte %d: a run of %d clusters from cluster %d of the attribute on", i, length, vcn)
		}
		next := run{vcn, hole, length}
		if offsetSize > 0 {
			lcn += signed(pairs[i+1+lengthSize : i+1+lengthSize+offsetSize])
			if lcn < 0 || lcn > g.clusters || length > g.clusters-lcn {
				return nil, fmt.Errorf("run list, byte %d: %d clusters from cluster %d on are not within the %d clusters of the volume", i, length, lcn, g.clusters)
			}
			next.lcn = lcn
		}
		l = l.push(next)
		i += 1 + lengthSize + offsetSize
	}
}

func (l runList) push(next run) runList {
	if len(l) > 0 {
		last := &l[len(l)-1]
		if last.lcn == hole && next.lcn == hole ||
			last.lcn != hole && last.lcn+last.length == next.lcn {
			last.length += next.length
			return l
		}
	}
	return append(l, next)
}

func signed(b []byte) int64 {
	v := int64(int8(b[len(b)-1]))
	for i := len(b) - 2; i >= 0; i-- {
		v = v<<8 | int64(b[i])
	}
	return v
}
