package diskimage_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
)

// noise gives bytes that look like data, the same for the same seed.
func noise(n int, seed byte) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

// ntfsVolume makes a volume with a file in it, whose free clusters have old
// data in them.
func ntfsVolume(t *testing.T, size int, dirty bool, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "volume", noise(size, 7))
	write(t, dir, "file", noise(300_000, 8))
	volume := filepath.Join(dir, "volume")
	run(t, "mkntfs", append(append([]string{"-F", "-Q", "-q", "-p", "2048", "-H", "255", "-S", "63"}, args...), volume)...)
	run(t, "ntfscp", "-f", volume, filepath.Join(dir, "file"), "file.bin")
	if dirty {
		run(t, "ntfsfix", volume)
	}
	return read(t, volume)
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// usedOf is what ntfsclone takes of a volume: all but the free clusters, which
// become zeros.
func usedOf(t *testing.T, volume []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "volume", volume)
	run(t, "ntfsclone", "-f", "-q", "-O", filepath.Join(dir, "used"), filepath.Join(dir, "volume"))
	used := read(t, filepath.Join(dir, "used"))
	return append(used, volume[len(used):]...)
}

// partitioned makes a disk of volumes that many MiB apart, the first at 1 MiB,
// and noise between them, with a table of that kind.
func partitioned(t *testing.T, dir string, gpt bool, step int, volumes ...[]byte) {
	t.Helper()
	disk := noise(step*(len(volumes)+1)*mib, 9)
	clear(disk[:mib])
	clear(disk[len(disk)-mib:])
	disk[510], disk[511] = 0x55, 0xaa
	path := filepath.Join(dir, "disk.raw")
	args := []string{path}
	for i, v := range volumes {
		start := max(step*i*mib, mib)
		copy(disk[start:], v)
		first, sectors := start/512, len(v)/512
		if gpt {
			args = append(args, fmt.Sprintf("--new=%d:%d:%d", i+1, first, first+sectors-1), fmt.Sprintf("--typecode=%d:0700", i+1))
			continue
		}
		entry := disk[446+16*i:]
		entry[4] = 0x07
		binary.LittleEndian.PutUint32(entry[8:], uint32(first))
		binary.LittleEndian.PutUint32(entry[12:], uint32(sectors))
	}
	if gpt {
		clear(disk[:mib])
	}
	write(t, dir, "disk.raw", disk)
	if gpt {
		run(t, "sgdisk", append([]string{"--set-alignment=1"}, args...)...)
	}
}

// TestUsedOnly compares with what ntfsclone copies.
func TestUsedOnly(t *testing.T) {
	clean, odd := ntfsVolume(t, 15*mib, false), ntfsVolume(t, 12*mib+512, false, "-c", "512")
	dirty := ntfsVolume(t, 10*mib, true)
	damaged := bytes.Clone(clean)
	copy(damaged[len(damaged)/3:], noise(mib, 3)) // the $MFT is at 4 clusters, the $Bitmap behind
	copy(damaged[4*4096:], noise(4096, 4))
	for label, gpt := range map[string]bool{"MBR": false, "GPT": true} {
		t.Run(label, func(t *testing.T) {
			dir := t.TempDir()
			partitioned(t, dir, gpt, 16, clean, dirty, odd, damaged)
			want := read(t, filepath.Join(dir, "disk.raw"))
			copy(want[mib:], usedOf(t, clean))
			copy(want[32*mib:], usedOf(t, odd))
			in := input(t, dir, "disk.raw")
			in.Raw = true
			c := open(t, in)
			for _, to := range []chain.Container{chain.Raw, chain.VHDX} {
				out := output(t, dir, "out."+string(to), to, "")
				out.UsedOnly, out.SHA256 = true, true
				made, err := diskimage.Convert(t.Context(), c, out, silent)
				if err != nil {
					t.Fatal(err)
				}
				got := input(t, dir, "out."+string(to))
				got.Raw = true
				data := make([]byte, len(want))
				if _, err := open(t, got).ReadAt(data, 0); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(data, want) {
					t.Errorf("%s: differs from what ntfsclone copies", to)
				}
				sum := sha256.Sum256(want)
				if crc := fmt.Sprintf("%08x", crc32.Checksum(want, crc32.MakeTable(crc32.Castagnoli))); made.CRC32C != crc || made.SHA256 != hex.EncodeToString(sum[:]) {
					t.Errorf("%s: %+v, want CRC %s and SHA-256 %x", to, made, crc, sum)
				}
				if made.SkippedBytes < 18*mib || made.SkippedBytes > 27*mib {
					t.Errorf("%s: skipped %d bytes", to, made.SkippedBytes)
				}
				if len(made.Warnings) != 2 || !strings.Contains(made.Warnings[0], "partition 2 is copied whole: the volume is marked dirty") || !strings.Contains(made.Warnings[1], "partition 4 is copied whole") {
					t.Errorf("%s: warnings %q", to, made.Warnings)
				}
			}
		})
	}
}

// TestExactByDefault: free clusters are copied unless it is said otherwise,
// and where there is no table of partitions.
func TestExactByDefault(t *testing.T) {
	dir := t.TempDir()
	partitioned(t, dir, false, 16, ntfsVolume(t, 15*mib, false))
	write(t, dir, "bare.raw", noise(2*mib, 1))
	for _, name := range []string{"disk.raw", "bare.raw"} {
		in := input(t, dir, name)
		in.Raw = true
		out := output(t, dir, "out-"+name, chain.Raw, "")
		out.UsedOnly = name == "bare.raw"
		made, err := diskimage.Convert(t.Context(), open(t, in), out, silent)
		if err != nil {
			t.Fatal(err)
		}
		if warned := len(made.Warnings) == 1 && strings.Contains(made.Warnings[0], "the disk is copied whole"); made.SkippedBytes != 0 || warned != out.UsedOnly {
			t.Errorf("%s: %+v", name, made)
		}
		if !bytes.Equal(read(t, filepath.Join(dir, name)), read(t, filepath.Join(dir, "out-"+name))) {
			t.Errorf("%s: the copy differs", name)
		}
	}
}
