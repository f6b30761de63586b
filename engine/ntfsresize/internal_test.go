package ntfsresize

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// volumeRecord is $Volume's FILE record as it lies on the disk, with a first
// attribute of that many bytes.
func volumeRecord(first int) []byte {
	le := binary.LittleEndian
	b := make([]byte, 4096)
	copy(b, "FILE")
	le.PutUint16(b[4:], 0x30)
	le.PutUint16(b[6:], 9)
	le.PutUint16(b[0x14:], 0x48)
	a := b[0x48:]
	le.PutUint32(a, 0x30)
	le.PutUint32(a[4:], uint32(first))
	a = a[first:]
	le.PutUint32(a, typeVolumeInformation)
	le.PutUint32(a[4:], 0x28)
	le.PutUint32(a[0x10:], 12)
	le.PutUint16(a[0x14:], 0x18)
	le.PutUint16(a[0x18+volumeFlagsAt:], 0xabcd)
	le.PutUint32(a[0x28:], typeEnd)
	le.PutUint16(b[0x30:], 7) // the update sequence number
	for i := range 8 {
		end := b[i*stride+stride-2:]
		copy(b[0x32+2*i:], end[:2])
		le.PutUint16(end, 7)
	}
	return b
}

func TestVolumeFlagsOffset(t *testing.T) {
	const toStrideEnd = stride - 2 - volumeFlagsAt - 0x18 - 0x48
	for _, c := range []struct{ first, want int }{
		{0x68, 0x48 + 0x68 + 0x18 + volumeFlagsAt},
		{toStrideEnd, 0x32}, // the flags are kept in the update sequence
		{toStrideEnd - 8, stride - 10},
		{toStrideEnd + stride, 0x34},
		// An attribute's length lies at the end of a stride.
		{stride - 2 - attributeLengthAt - 0x48, stride - 2 - attributeLengthAt + 0x18 + volumeFlagsAt},
	} {
		record := volumeRecord(c.first)
		got, err := volumeFlagsOffset(record)
		if err != nil || got != c.want {
			t.Errorf("behind %d bytes: 0x%x, %v; want 0x%x", c.first, got, err, c.want)
			continue
		}
		if flags := binary.LittleEndian.Uint16(record[got:]); flags != 0xabcd {
			t.Errorf("behind %d bytes: at 0x%x there is 0x%x", c.first, got, flags)
		}
	}
}

func FuzzVolumeFlagsOffset(f *testing.F) {
	f.Add(volumeRecord(0x68))
	f.Add(volumeRecord(stride - 2 - volumeFlagsAt - 0x18 - 0x48))
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := string(raw)
		at, err := volumeFlagsOffset(raw)
		if string(raw) != before {
			t.Error("the record has changed")
		}
		if err == nil && (at < smallestUpdateSequenceAt || at+2 > len(raw) || at%stride == stride-2) {
			t.Errorf("flags at 0x%x of %d bytes", at, len(raw))
		}
	})
}

func TestRefusalKinds(t *testing.T) {
	for _, c := range []struct {
		output string
		want   error
		says   string
	}{
		{"ntfsresize v2022.10.3\nERROR: Volume is full. To shrink it, delete unused files.\n", ErrBlocked, `says "ERROR: Volume is full. To`},
		{"Collecting ...\nERROR: This software has detected that the disk has at least 3 bad sectors.\n***\n* WARNING: The disk\n", ErrBlocked, "3 bad sectors. WARNING: The disk"},
		{"ERROR: The fragmentation type, you have, isn't supported yet.", ErrBlocked, "isn't supported"},
		{"ERROR: Volume is scheduled for check.\nRun chkdsk /f", ErrUnclean, "Run chkdsk /f"},
		{"ERROR(1): Opening '/tmp/x/volume' as NTFS failed: Operation not permitted\nThe NTFS partition is hibernated.", ErrUnclean, "Opening 'the volume' as"},
		{"ERROR(5): Opening '/tmp/x/volume' as NTFS failed: Input/output error\nNTFS is inconsistent.", ErrCorrupt, "NTFS is inconsistent"},
		{"Relocating needed data ...\nERROR(28): Cluster allocation failed for 37:0: No space left on device", ErrTool, "ends badly: ntfsresize says \"ERROR(28)"},
		{"Usage\n\nno line of that kind\n", ErrTool, "no line of that kind"},
		{"ERROR: " + strings.Repeat("é", maxWords), ErrTool, "..."},
		{"", ErrTool, `""`},
	} {
		err := refusal(errors.New("ends badly"), c.output, "/tmp/x/volume")
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 2*maxWords+100 {
			t.Errorf("%q: %v", c.output, err)
		}
	}
}

func TestNumber(t *testing.T) {
	const output = "Cluster size       : 4096 bytes\nSpace in use       : 57 MB (9.0%)\nYou might resize at 56918016 bytes or 57 MB (freeing 573 MB).\nlarge : 99999999999999999999\n"
	for label, want := range map[string]int64{"Cluster size": 4096, "You might resize at": 56918016, "Space in use": 57, "large": -1, "none": -1, "size": -1} {
		got, err := number(output, label)
		if (err == nil) != (want >= 0) || err == nil && got != want {
			t.Errorf("%s: %d, %v", label, got, err)
		}
	}
}

func FuzzOutput(f *testing.F) {
	f.Add("You might resize at 56918016 bytes or 57 MB", "You might resize at")
	f.Add("ERROR(5): Opening '/tmp/x/volume' as NTFS failed\nNTFS is inconsistent.", "x")
	f.Fuzz(func(t *testing.T, output, label string) {
		if n, err := number(output, label); err == nil && n < 0 {
			t.Errorf("%d", n)
		}
		if err := refusal(errors.New("x"), output, "/tmp/x/volume"); err == nil {
			t.Error("no error")
		}
	})
}
