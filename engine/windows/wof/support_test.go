package wof

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// algorithms, with the options by which wimlib makes WIM resources of the same
// form: chunk table, chunks, stored chunks.
var algorithms = []struct {
	Algorithm
	compress string
	chunk    int
}{
	{XPRESS4K, "XPRESS", 4 << 10},
	{XPRESS8K, "XPRESS", 8 << 10},
	{XPRESS16K, "XPRESS", 16 << 10},
	{LZX, "LZX", 32 << 10},
}

// random is incompressible content, always the same for one seed.
func random(seed, n int) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(int64(seed))).Read(b)
	return b
}

// text is compressible content with some incompressible and some empty parts.
func text(seed, n int) []byte {
	var b bytes.Buffer
	r := rand.New(rand.NewSource(int64(seed)))
	for b.Len() < n {
		switch r.Intn(12) {
		case 0:
			b.Write(random(r.Int(), r.Intn(40<<10)))
		case 1:
			b.Write(make([]byte, r.Intn(90<<10)))
		default:
			for range r.Intn(1000) {
				fmt.Fprintf(&b, "%d boot configuration data %x\r\n", r.Intn(50), r.Intn(5))
			}
		}
	}
	return b.Bytes()[:n]
}

// code is like x86 code with many calls, to few places, in both directions.
func code(seed, n int) []byte {
	b := make([]byte, 0, n+8)
	r := rand.New(rand.NewSource(int64(seed)))
	for len(b) < n {
		switch r.Intn(4) {
		case 0:
			target := r.Intn(20) * 4000
			b = append(b, 0xe8)
			b = binary.LittleEndian.AppendUint32(b, uint32(target-len(b)-4))
		case 1:
			b = append(b, 0xe8) // with whatever follows as operand
		default:
			b = append(b, "\x55\x48\x89\xe5\x48\x83\xec\x20\x90\xc3\x00\xff"[r.Intn(8):]...)
		}
	}
	return b[:n]
}

// contents are by name what every algorithm is tested with.
func contents(t testing.TB) map[string][]byte {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	c := map[string][]byte{
		"program":      program[:min(len(program), 1<<20)],
		"code":         code(1, 300_001),
		"text":         text(1, 700_003),
		"more text":    text(2, 500_000),
		"zeros":        make([]byte, 300_000),
		"stored":       random(1, 100_000),
		"nearly noise": append(random(2, 40_000), make([]byte, 5000)...),
		"two symbols":  bytes.Repeat([]byte("abaab"), 20_000),
		"one byte":     {'x'},
		"two bytes":    []byte("xy"),
		"half noise":   nil,
		"skewed":       nil,
	}
	for i := range 64 { // noise and zeros in turns
		c["half noise"] = append(append(c["half noise"], random(i, i*120)...), make([]byte, i*50)...)
	}
	r := rand.New(rand.NewSource(7)) // long codes: byte values with halving probabilities
	for range 200_000 {
		c["skewed"] = append(c["skewed"], byte(min(r.ExpFloat64()*12, 255)))
	}
	for period := range 9 {
		c[fmt.Sprint("period ", period+1)] = bytes.Repeat(random(period, period+1), 70_000/(period+1))
	}
	for _, a := range algorithms {
		for _, d := range []int{-1, 0, 1} {
			c[fmt.Sprintf("a chunk of %d and %d", a.chunk, d)] = text(a.chunk, a.chunk+d)
			c[fmt.Sprintf("3 chunks of %d and %d", a.chunk, d)] = code(a.chunk, 3*a.chunk+d)
		}
	}
	return c
}

// capture compresses files with wimlib and returns the resources that are
// compressed, by name.
func capture(t testing.TB, contents map[string][]byte, compress string, chunk int) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	tree, wim := filepath.Join(dir, "tree"), filepath.Join(dir, "out.wim")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	names := map[[sha1.Size]byte]string{}
	for name, content := range contents {
		names[sha1.Sum(content)] = name
		if err := os.WriteFile(filepath.Join(tree, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("wimlib-imagex", "capture", tree, wim, "--compress="+compress, fmt.Sprint("--chunk-size=", chunk), "--threads=1", "--no-acls").CombinedOutput()
	if err != nil {
		t.Fatalf("wimlib-imagex: %v\n%s", err, out)
	}
	b, err := os.ReadFile(wim)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(b), "MSWIM\x00\x00\x00") || binary.LittleEndian.Uint32(b[20:]) != uint32(chunk) {
		t.Fatalf("not a WIM with chunks of %d bytes: %x", chunk, b[:24])
	}
	resource := func(h []byte) (data []byte, flags byte) {
		size := binary.LittleEndian.Uint64(h) & (1<<56 - 1)
		return b[binary.LittleEndian.Uint64(h[8:]):][:size], h[7]
	}
	table, _ := resource(b[48:])
	found := map[string][]byte{}
	for ; len(table) >= 50; table = table[50:] {
		data, flags := resource(table)
		if name, ok := names[[sha1.Size]byte(table[30:50])]; ok && flags&0x04 != 0 {
			found[name] = data
		}
	}
	return found
}

func newReader(t testing.TB, stream []byte, size int, a Algorithm) *Reader {
	t.Helper()
	r, err := NewReader(bytes.NewReader(stream), int64(len(stream)), int64(size), a)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func firstDifference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
