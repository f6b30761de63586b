package catalogue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"imageport/engine/catalogue/peversion"
	"imageport/engine/share"
	"imageport/job"
)

// Finding is something about an installer that will not do.
type Finding struct {
	// Installer is Installer.String.
	Installer string `json:"installer"`
	// File is the path that it is about.
	File    string   `json:"file"`
	Code    job.Code `json:"code"`
	Message string   `json:"message"`
	Remedy  string   `json:"remedy,omitempty"`
}

// Err gives the finding as an error with its code and remedy.
func (f Finding) Err() error {
	return job.Errorf(f.Code, f.Remedy, "%s of %s in the catalogue: %s", f.File, f.Installer, f.Message)
}

// Check compares all files with the catalogue: that they are there, that an
// installer has the product version and can run on the processor, and that no
// file is there for two versions. A deep one compares hashes, too, and for that
// reads every file whole. When ctx ends, what was not looked at is a finding.
func Check(ctx context.Context, dial Dial, c *Catalogue, deep bool) []Finding {
	var all []Finding
	first := map[string]Installer{} // by hash and processor
	for _, in := range c.Installers {
		all = append(all, CheckInstaller(ctx, dial, in, deep)...)
		key := in.SHA256 + in.Arch
		if other, twice := first[key]; twice {
			all = append(all, in.finding(in.File, job.CatalogueInvalid, "Give each version its own file, or remove one of them",
				"it has the hash of the file of %v: one of them is not what it is called", other))
		} else {
			first[key] = in
		}
	}
	return all
}

// CheckInstaller is Check for one installer, with its prerequisites.
func CheckInstaller(ctx context.Context, dial Dial, in Installer, deep bool) []Finding {
	var all []Finding
	for _, f := range Files(in) {
		all = append(all, in.checkFile(ctx, dial, f, deep)...)
	}
	return all
}

func (in Installer) finding(file string, code job.Code, remedy, format string, args ...any) Finding {
	return Finding{in.String(), file, code, fmt.Sprintf(format, args...), remedy}
}

// failed is what could not be looked at.
func (in Installer) failed(file string, err error) Finding {
	if e, ok := errors.AsType[*job.Error](err); ok {
		return in.finding(file, e.Code, e.Remedy, "%s", e.Message)
	}
	return in.finding(file, job.ShareIO, "Try again", "%v", err)
}

const remedyAdd = `Put the file there that was meant, or have the catalogue say what it is with "imageport catalogue add --replace"`

func (in Installer) checkFile(ctx context.Context, dial Dial, file File, deep bool) []Finding {
	f, err := OpenFile(ctx, dial, file.Path)
	if code := job.CodeOf(err); errors.Is(err, fs.ErrNotExist) || code == job.ShareNotFound {
		return []Finding{in.finding(file.Path, job.InstallerNotFound, "Copy it there, or take the installer out of "+FileName, "the file is not there")}
	}
	if err != nil {
		return []Finding{in.failed(file.Path, err)}
	}
	defer f.Close()
	var all []Finding
	if deep {
		hash, err := hashOf(ctx, f, f.Size(), nil)
		if err != nil {
			return []Finding{in.failed(file.Path, err)}
		}
		if hash != file.SHA256 {
			all = append(all, in.finding(file.Path, job.InstallerHashMismatch, remedyAdd,
				"its SHA-256 is %s, and the catalogue says %s", hash, file.SHA256))
		}
	}
	if isPackage(file.Path) {
		return all
	}
	return append(all, in.checkProgram(f, file)...)
}

// checkProgram looks at what a program says of itself. One that says nothing of
// its version, or nothing that has numbers, may be right.
func (in Installer) checkProgram(f share.File, file File) []Finding {
	v, err := peversion.Read(f, f.Size())
	switch {
	case errors.Is(err, peversion.ErrNotPE):
		return []Finding{in.finding(file.Path, job.CatalogueInvalid, remedyAdd, "it is no program: %v", err)}
	case err != nil && !errors.Is(err, peversion.ErrNoVersion) && !errors.Is(err, peversion.ErrCorrupt):
		return []Finding{in.failed(file.Path, err)}
	}
	var all []Finding
	if !slices.Contains(runsOn[in.Arch], v.Arch) {
		all = append(all, in.finding(file.Path, job.CatalogueInvalid, remedyAdd,
			"it is a program for %s, which a Windows for %s does not run", v.Arch, in.Arch))
	}
	have := numbersOf(v.ProductVersion)
	if file.Path == in.File && have != "" && !sameVersion(have, in.ProductVersion) {
		all = append(all, in.finding(file.Path, job.CatalogueInvalid, remedyAdd,
			"its product version is %s, and the catalogue says %s", have, in.ProductVersion))
	}
	return all
}

// runsOn are the processors of the programs that a Windows runs. That of an
// installer is often 32-bit, for all of them.
var runsOn = map[string][]string{
	ArchX64:   {ArchX64, ArchX86},
	ArchX86:   {ArchX86},
	ArchARM64: {ArchARM64, ArchX64, ArchX86},
}

// numbersOf brings the version of a file to dotted numbers, "" if it is none:
// older tools write "7, 41, 0, 62".
func numbersOf(version string) string {
	version = strings.ReplaceAll(strings.ReplaceAll(version, " ", ""), ",", ".")
	if !versionNumbers.MatchString(version) {
		return ""
	}
	return version
}

// pieceBytes is what is read at once: enough for a share to read in parallel.
const pieceBytes = 4 << 20

// hashOf gives the SHA-256 of what is read, and has it written by write, if any.
func hashOf(ctx context.Context, r io.ReaderAt, sizeBytes int64, write func(piece []byte, at int64) error) (string, error) {
	h := sha256.New()
	buffer := make([]byte, min(pieceBytes, sizeBytes))
	for at := int64(0); at < sizeBytes; at += int64(len(buffer)) {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		piece := buffer[:min(int64(len(buffer)), sizeBytes-at)]
		if n, err := r.ReadAt(piece, at); n < len(piece) {
			return "", fmt.Errorf("read %d bytes at offset %d: %w", len(piece), at, err)
		}
		h.Write(piece)
		if write != nil {
			if err := write(piece, at); err != nil {
				return "", err
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
