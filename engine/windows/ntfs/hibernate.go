package ntfs

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Hibernated tells whether \hiberfil.sys holds a Windows that hibernated, or
// shut down for a fast start, or was resuming: its cache may hold changes that
// are not on the volume. After a full shutdown the file begins with zeros, or
// does not exist. WAKE, which a resumed Windows leaves, counts as hibernated:
// what it means for the cache depends on how that Windows was shut down.
func (v *Volume) Hibernated() (bool, error) {
	const path = `\hiberfil.sys`
	f, err := v.Open(path)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	signature := make([]byte, 4)
	if n, err := f.ReadAt(signature, 0); n < len(signature) {
		if err == io.EOF {
			return false, nil
		}
		return false, fmt.Errorf("signature: %w", err)
	}
	switch strings.ToUpper(string(signature)) {
	case "HIBR", "WAKE", "RSTR":
		return true, nil
	}
	return false, nil
}
