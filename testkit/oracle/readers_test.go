package oracle

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imageport/testkit/winimage/ntfs3g"
)

// rounds is how many damaged copies each reader is given: a few seconds' worth.
const rounds = 20000

// harness compiles the readers for the host, with every access to memory and
// every arithmetic operation checked.
func harness(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "harness")
	args := []string{"-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror",
		"-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Iefi", "-o", program,
		"testdata/harness.c", "efi/bcd.c", "efi/regf.c", "efi/gpt.c", "efi/ntfs.c"}
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return program
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// The readers find what is there, and survive everything that is not as it
// should be: a finding of a sanitizer fails the program.
func TestReaders(t *testing.T) {
	program := harness(t)

	t.Run("real BCD store", func(t *testing.T) {
		t.Parallel()
		got := tool(t, program, "regf", "testdata/win10-uefi.BCD", fmt.Sprint(rounds))
		want := `open ok
default {733b62e5-f608-11eb-825c-c112f60133ab} type 0x10200003
11000001 GPT partition 6, element 0
12000002 \Windows\system32\winload.efi
23000003 {733b62e4-f608-11eb-825c-c112f60133ab}
21000001 GPT partition 6, element 0
22000002 \Windows
recovery {733b62e6-f608-11eb-825c-c112f60133ab} type 0x10200003
11000001 RAM disk of \Recovery\WindowsRE\Winre.wim, type 6, options {733b62e7-f608-11eb-825c-c112f60133ab}
12000002 \windows\system32\winload.efi
21000001 RAM disk of \Recovery\WindowsRE\Winre.wim, type 6, options {733b62e7-f608-11eb-825c-c112f60133ab}
22000002 \windows
`
		if got != want {
			t.Errorf("got:\n%swant:\n%s", got, want)
		}
	})

	t.Run("NTFS", func(t *testing.T) {
		t.Parallel()
		path, content := ntfsVolume(t)
		var hash uint64
		for _, c := range content {
			hash = hash*31 + uint64(c)
		}
		file := `\windows\SYSTEM32\name-0250.dll` // not as it is written there
		got := tool(t, program, "ntfs", path, file, fmt.Sprint(rounds/4))
		if want := fmt.Sprintf("ok size %d hash %d\n", len(content), hash); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		for name, want := range map[string]string{
			`\Windows\resident.txt`:            "ok size 5 hash",
			`\Windows\System32\name-9999.dll`:  "no such file",
			`\Windows\resident.txt\winload`:    "path goes through something that is not a directory",
			`\Windows\System32\sparse.bin`:     "file is compressed, encrypted or sparse",
			`\Windows`:                         "file has no data",
			`\Windows\\System32`:               "path is malformed",
			`\Windows\System32\name-0250.dllx`: "no such file",
		} {
			if got := tool(t, program, "ntfs", path, name, "0"); !strings.HasPrefix(got, want) {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
	})

	t.Run("GPT", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		tool(t, "sgdisk", "--set-alignment=1", "-n", "2:100:199", "-t", "2:ef00",
			"-u", "2:03020100-0504-0706-0809-0a0b0c0d0e0f", path)
		guid := "000102030405060708090a0b0c0d0e0f"
		got := tool(t, program, "gpt", path, guid, fmt.Sprint(rounds/10))
		if want := "ok partition 2 from 100 to 199 esp 1\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		got = tool(t, program, "gpt", path, strings.Repeat("55", 16), "0")
		if want := "partition GUID is not in the GPT\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// ntfsVolume makes a volume with a directory whose index is a tree of several
// blocks; it returns the content of one file in it.
func ntfsVolume(t *testing.T) (path string, content []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "volume")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 16<<20); err != nil {
		t.Fatal(err)
	}
	if err := ntfs3g.Format(t.Context(), path, "test", 0, 512); err != nil {
		t.Fatal(err)
	}
	volume, err := ntfs3g.Mount(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := volume.Unmount(); err != nil {
			t.Error(err)
		}
	}()

	content = make([]byte, 300_001)
	rand.Read(content)
	system32 := filepath.Join(volume.Dir, "Windows", "System32")
	if err := os.MkdirAll(system32, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		data := []byte("small")
		if i == 250 {
			data = content
		}
		if err := os.WriteFile(filepath.Join(system32, fmt.Sprintf("name-%04d.dll", i)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(volume.Dir, "Windows", "resident.txt"), []byte("small"), 0o644); err != nil {
		t.Fatal(err)
	}
	sparse, err := os.Create(filepath.Join(system32, "sparse.bin"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = sparse.WriteAt([]byte("end"), 1<<20)
	if closeErr := sparse.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	return path, content
}
