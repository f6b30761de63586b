package appliance

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"imageport/appliance/biosboot"
	"imageport/appliance/export"
)

// write writes the files, and lists them in the result.
func (o Options) write(ctx context.Context, a agent, image []byte, r *Result) error {
	bill, err := o.billOfMaterials(a, r)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		format, suffix string
		contents       []byte
	}{{"uki", ".efi", image}, {"sbom", ".cdx.json", bill}} {
		path := filepath.Join(o.Dir, Name+f.suffix)
		if err := writeFile(path, f.contents); err != nil {
			return err
		}
		r.Files = append(r.Files, File{f.format, path, int64(len(f.contents)), digest(f.contents)})
	}
	if len(o.Formats) == 0 {
		return nil
	}
	loaded, err := export.Load(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		return err
	}
	options := export.Options{Name: Name, Version: a.version, Time: o.Time}
	if o.BIOS {
		options.BIOS = biosLoader(image)
	}
	for _, format := range o.Formats {
		path := filepath.Join(o.Dir, Name+format.Suffix())
		// Platform qemu compares the two; one of before must not be there with
		// a disk of now.
		if err := os.Remove(path + digestSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		info, err := export.WriteFile(ctx, path, format, loaded, options)
		if err != nil {
			return err
		}
		sum := hex.EncodeToString(info.SHA256[:])
		if err := writeFile(path+digestSuffix, fmt.Appendf(nil, "%s  %s\n", sum, filepath.Base(path))); err != nil {
			return err
		}
		r.Files = append(r.Files, File{string(format), path, info.SizeBytes, sum})
		o.Step("%s: %.1f MiB", format, mib(int(info.SizeBytes)))
	}
	return nil
}

// digestSuffix is that of the files that sha256sum -c takes.
const digestSuffix = ".sha256"

// biosLoader puts our boot loader for BIOS machines on a disk.
func biosLoader(image []byte) export.BIOSLoader {
	return func(l export.Layout) (export.BIOSCode, error) {
		code, err := biosboot.Install(bytes.NewReader(image), int64(len(image)), biosboot.Place{UKI: l.UKI.FirstLBA, Stage2: l.BIOSBoot.FirstLBA})
		return export.BIOSCode{MBR: code.MBR, Boot: code.Stage2}, err
	}
}

// writeFile writes a file that appears, or is replaced, when it is complete.
func writeFile(path string, contents []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.partial")
	if err != nil {
		return err
	}
	_, err = f.Write(contents)
	// Nothing in it is secret, and programs of other users read it.
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
