package xenserver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imageport/platforms"
)

// The appliance's disk is taken as it is raw, and as a fixed VHD, as qemu-img makes
// both, and it is the same; other formats are refused by their names.
func TestAppliance(t *testing.T) {
	dir := t.TempDir()
	raw := filepath.Join(dir, "ce.raw")
	content := bytes.Repeat([]byte("appliance "), 4<<20/10+1)[:4<<20]
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	convert := func(name string, args ...string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		args = append(append([]string{"convert", "-f", "raw"}, args...), raw, path)
		if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img %q: %v: %s", args, err, out)
		}
		return path
	}
	write := func(name string, b []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fixed := convert("fixed.vhd", "-O", "vpc", "-o", "subformat=fixed,force_size=on")
	torn, err := os.ReadFile(fixed)
	if err != nil {
		t.Fatal(err)
	}
	tar := make([]byte, 1024)
	copy(tar[257:], "ustar")
	for _, tc := range []struct{ path, in string }{
		{raw, ""}, {fixed, ""},
		{convert("dynamic.vhd", "-O", "vpc", "-o", "force_size=on"), "growing VHD"},
		{convert("x.vhdx", "-O", "vhdx"), "VHDX"},
		{convert("x.vmdk", "-O", "vmdk"), "VMDK"},
		{convert("x.qcow2", "-O", "qcow2"), "qcow2"},
		{write("x.ova", tar), "tar archive"},
		{write("torn.vhd", torn[512:]), "footer of a disk of 4194304 bytes, expected 4193792"},
		{write("odd.raw", content[:1000]), "it has 1000 bytes"},
		{write("empty.raw", nil), "it has 0 bytes"},
	} {
		f := newApplianceFile(tc.path)
		i, err := f.Read(t.Context())
		if tc.in != "" {
			if platforms.KindOf(err) != platforms.BadRequest || !errors.Is(err, errAppliance) || !strings.Contains(err.Error(), tc.in) {
				t.Errorf("%s: %v; want %q", tc.path, err, tc.in)
			}
			continue
		}
		if err != nil || i.size != int64(len(content)) || i.digest != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: %+v, %v", tc.path, i, err)
		}
	}
}

func FuzzAppliance(f *testing.F) {
	foot := make([]byte, 1024)
	copy(foot[512:], "conectix")
	foot[512+54] = 2
	f.Add(foot)
	f.Add(make([]byte, 512))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := readImage(t.Context(), bytes.NewReader(b), int64(len(b)))
		if err == nil && (i.size > int64(len(b)) || i.size%sectorSize != 0 || len(i.digest) != 64) {
			t.Errorf("%d bytes are a disk %+v", len(b), i)
		}
	})
}

// Whatever somebody writes into the marks of a VM is read or refused.
func FuzzClaims(f *testing.F) {
	f.Add("imageport-disk-4", `{"name":"x","vdi":"y","sizeBytes":1}`)
	f.Add("imageport-disk-", "{")
	f.Fuzz(func(t *testing.T, key, text string) {
		claims, err := marks{key: text, keyJob: "x"}.claims()
		if err != nil || len(claims) == 0 {
			return
		}
		written, err := claims[0].text()
		if err != nil {
			t.Fatal(err)
		}
		again, err := marks{claims[0].key(): written}.claims()
		if err != nil || len(again) != 1 || again[0] != claims[0] {
			t.Errorf("%+v becomes %+v, %v", claims[0], again, err)
		}
	})
}
