package winimage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestLayout(t *testing.T) {
	for name, test := range map[string]struct {
		spec Spec
		want string // role start+size in MiB type, * = active
	}{
		"as Windows Setup makes it": {Default(), "System Reserved 1+500 07* Windows 501+3094 07 Recovery 3595+500 27"},
		"one partition":             {Spec{SizeBytes: 100 * mib}, "Windows 1+98 07*"},
		"to the last sector":        {Spec{SizeBytes: 100 * mib, ToLastSector: true}, "Windows 1+99 07*"},
		"gap after C:":              {Spec{SizeBytes: 100 * mib, FreeAfterWindowsMiB: 20, RecoveryMiB: 10}, "Windows 1+68 07* Recovery 89+10 27"},
		"gap at the end":            {Spec{SizeBytes: 100 * mib, FreeAtEndMiB: 30, RecoveryMiB: 10}, "Windows 1+59 07* Recovery 60+10 27"},
		"no active partition":       {Spec{SizeBytes: 100 * mib, NoActive: true}, "Windows 1+98 07"},
		"several active":            {Spec{SizeBytes: 100 * mib, RecoveryMiB: 10, MultipleActive: true}, "Windows 1+88 07* Recovery 89+10 27*"},
		"dynamic disk":              {Spec{SizeBytes: 100 * mib, DynamicDisk: true}, "Windows 1+98 42*"},
		"extended":                  {Spec{SizeBytes: 100 * mib, Extended: true}, "Windows 1+34 07* Extended 35+64 0f Unformatted 36+63 07"},
		"Recovery before C:": {Spec{SizeBytes: 100 * mib, SystemReservedMiB: 10, RecoveryMiB: 10, RecoveryFirst: true},
			"System Reserved 1+10 07* Recovery 11+10 27 Windows 21+78 07"},
		"data partitions": {Spec{SizeBytes: 100 * mib, RecoveryMiB: 10, Data: []Data{{Letter: "D", MiB: 8}, {Letter: "E", MiB: 9}}},
			"Windows 1+71 07* Data D 72+8 07 Data E 80+9 07 Recovery 89+10 27"},
		"logical partitions": {Spec{SizeBytes: 100 * mib, RecoveryMiB: 10, RecoveryLogical: true, FreeAfterWindowsMiB: 5,
			Data: []Data{{Letter: "E", MiB: 9, Logical: true}, {Letter: "D", MiB: 8}}},
			"Windows 1+64 07* Data D 70+8 07 Extended 78+21 0f Data E 79+9 07 Recovery 89+10 27"},
		"OEM partitions": {Spec{SizeBytes: 100 * mib, SystemReservedMiB: 10, OEM: []OEM{{Type: 0xde, MiB: 39, Content: FAT}, {Type: 0x12, MiB: 8}}},
			"OEM 1+39 de OEM 40+8 12 System Reserved 48+10 07* Windows 58+41 07"},
		"sectors of 4096 bytes, in front": {Spec{SizeBytes: 100 * mib, SectorSize: 4096, NoRoomInFront: true}, "Windows 1+98 07* In front 0+0 12"},
	} {
		t.Run(name, func(t *testing.T) {
			partitions, err := test.spec.Layout()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range partitions {
				text := fmt.Sprintf("%s %d+%d %02x", p.Role, p.StartBytes/mib, p.SizeBytes/mib, p.Type)
				if p.Active {
					text += "*"
				}
				got = append(got, text)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, " "), test.want)
			}
		})
	}
}

func TestImpossibleSpecs(t *testing.T) {
	for name, spec := range map[string]Spec{
		"nothing":                 {},
		"not whole MiB":           {SizeBytes: 100*mib + 512},
		"larger than an MBR has":  {SizeBytes: 3 << 40},
		"no room for C:":          {SizeBytes: 100 * mib, SystemReservedMiB: 60, RecoveryMiB: 35},
		"negative":                {SizeBytes: 100 * mib, RecoveryMiB: -5},
		"free after the end":      {SizeBytes: 100 * mib, ToLastSector: true, FreeAtEndMiB: 1},
		"WinRE nowhere":           {SizeBytes: 100 * mib, WinREInSystem: true},
		"GPT without room for it": {SizeBytes: 100 * mib, AlreadyGPT: true, ToLastSector: true},
		"unknown boot files":      {SizeBytes: 100 * mib, BootFiles: "huge"},
		"unknown compression":     {SizeBytes: 100 * mib, WOFBootFiles: "ZIP"},
		"unknown devices":         {SizeBytes: 100 * mib, Devices: "network"},
		"sectors of 1024 bytes":   {SizeBytes: 100 * mib, SectorSize: 1024},
		"no such letter":          {SizeBytes: 100 * mib, Data: []Data{{Letter: "C", MiB: 8}}},
		"a letter twice":          {SizeBytes: 100 * mib, Data: []Data{{Letter: "D", MiB: 8}, {Letter: "D", MiB: 8}}},
		"five partitions":         {SizeBytes: 100 * mib, SystemReservedMiB: 10, RecoveryMiB: 10, Data: []Data{{Letter: "D", MiB: 8}, {Letter: "E", MiB: 8}, {Letter: "G", MiB: 8}}},
		"second Windows nowhere":  {SizeBytes: 100 * mib, SecondLoader: true},
		"Recovery nowhere":        {SizeBytes: 100 * mib, RecoveryFirst: true},
		"OEM of no size":          {SizeBytes: 100 * mib, OEM: []OEM{{Type: 0x12}}},
		"pieces of nothing":       {SizeBytes: 100 * mib, Fragmented: true},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := spec.Layout(); !errors.Is(err, ErrSpec) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The descriptors are those that genuine Windows wrote for the same devices.
func TestDevicesLikeGenuineOnes(t *testing.T) {
	for name, test := range map[string]struct {
		got  []byte
		want string
	}{
		"partition, Windows 10": {
			device(partitionDescriptor(0x76a4a23d, 0x24400000)),
			zeros(16) + "06000000" + zeros(4) + "48000000" + zeros(4) +
				"0000402400000000" + zeros(8) + zeros(4) + "01000000" + "3da2a476" + zeros(12) + zeros(16),
		},
		"RAM disk, Windows 8.1": {
			ramdiskDevice("{3c32c4e8-f36e-11e2-8548-986c4e43b52a}", partitionDescriptor(0x0003ee7c, 0x124f900000), `\Recovery\WindowsRE\Winre.wim`),
			"e8c4323c6ef3e2118548986c4e43b52a" + "0000000001000000b800000000000000" + "03000000" + zeros(20) +
				"010000009000000005000000" + "06000000" + zeros(4) + "48000000" + zeros(4) +
				"0000904f12000000" + zeros(8) + zeros(4) + "01000000" + "7cee0300" + zeros(12) + zeros(16) +
				"5c005200650063006f0076006500720079005c00570069006e0064006f0077007300520045005c00570069006e00720065002e00770069006d000000",
		},
		"partition booted from": {
			device(bootDescriptor()),
			zeros(16) + "05000000" + zeros(4) + "48000000" + zeros(4) + zeros(0x38),
		},
		"to be located by the path of the program": {
			device(locateDescriptor(elementPath)),
			zeros(16) + "08000000" + zeros(4) + "1e000000" + zeros(4) + zeros(4) + "02000012" + zeros(6),
		},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := hex.DecodeString(test.want)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(test.got, want) {
				t.Errorf("got\n%swant\n%s", hex.Dump(test.got), hex.Dump(want))
			}
		})
	}
}

func zeros(n int) string { return strings.Repeat("00", n) }
