package bootconv

import (
	"bytes"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"imageport/engine/disk/fat32"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// BootFile is a file of the EFI system partition.
type BootFile struct {
	// Source is its path on C:, empty for what the conversion makes itself.
	Source string `json:"source,omitempty"`
	// Target is its path on the ESP, '/'-separated.
	Target string `json:"target"`
	Size   int64  `json:"sizeBytes"`
}

// bootFile is a BootFile with its contents.
type bootFile struct {
	BootFile
	modified time.Time
	data     io.ReaderAt
}

// Targets on the ESP. The firmware of a VM whose NVRAM is empty starts
// EFI/Boot/bootx64.efi, so the boot manager is there, too.
const (
	espMicrosoft = "EFI/Microsoft/Boot"
	espFallback  = "EFI/Boot/bootx64.efi"
	espStore     = espMicrosoft + "/BCD"
)

// listBootFiles lists what Windows itself would copy to an ESP.
func (im *Image) listBootFiles() ([]bootFile, error) {
	var files []bootFile
	left := maxBootEntries
	for _, tree := range []struct{ source, target string }{
		{pathBootEFI, espMicrosoft},
		{`\Windows\Boot\Fonts`, espMicrosoft + "/Fonts"},
		{`\Windows\Boot\Resources`, espMicrosoft + "/Resources"},
	} {
		found, err := im.listTree(tree.source, tree.target, &left)
		if errors.Is(err, ntfs.ErrNotFound) && tree.source != pathBootEFI {
			continue // fonts and resources make the boot menu pretty, no more
		}
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	for _, f := range files {
		if strings.EqualFold(f.Source, pathBootMgr) {
			f.Target = espFallback
			files = append(files, f)
			break
		}
	}
	return files, nil
}

// maxBootEntries is how many files and folders there may be below \Windows\Boot:
// many times what Windows has, and few enough that a volume made to be walked
// for ever is not.
const maxBootEntries = 4096

// listTree lists the files below a folder of C:, taking each entry from left.
func (im *Image) listTree(source, target string, left *int) ([]bootFile, error) {
	entries, err := im.windows.ntfs.ReadDir(source)
	if err != nil {
		return nil, volumeError(im.windows, err)
	}
	var files []bootFile
	for _, e := range entries {
		if *left--; *left < 0 {
			return nil, job.Errorf(job.BootFilesTooBig, "Remove what does not belong below \\Windows\\Boot", "there are more than %d files and folders below \\Windows\\Boot", maxBootEntries)
		}
		from, to := source+`\`+e.Name, path.Join(target, e.Name)
		if e.IsDir {
			below, err := im.listTree(from, to, left)
			if err != nil {
				return nil, err
			}
			files = append(files, below...)
			continue
		}
		f, err := im.windows.ntfs.Open(from)
		if err != nil {
			return nil, volumeError(im.windows, err)
		}
		if f.WOF() || f.Encrypted() {
			return nil, compressed(from)
		}
		files = append(files, bootFile{BootFile{from, to, f.Size()}, f.ModTime(), f})
	}
	return files, nil
}

// espFiles is everything that the ESP gets, sorted by path.
func (im *Image) espFiles(p *Plan) []bootFile {
	files := slices.Clone(im.boot)
	files = append(files, bootFile{BootFile{Target: espStore, Size: int64(len(p.store))}, p.modify, bytes.NewReader(p.store)})
	slices.SortFunc(files, func(a, b bootFile) int { return strings.Compare(a.Target, b.Target) })
	return files
}

func fatFiles(files []bootFile) []fat32.File {
	out := make([]fat32.File, len(files))
	for i, f := range files {
		out[i] = fat32.File{Path: f.Target, Size: f.Size, ModTime: f.modified, Data: f.data}
	}
	return out
}
