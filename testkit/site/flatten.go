package site

import (
	"context"
	"fmt"
	"path/filepath"

	"imageport/job"
)

// Flatten writes the disk that a guest sees of a result to a new raw, sparse
// file, with the program's own command for it.
func (s *Site) Flatten(ctx context.Context, result job.Result, raw string) error {
	out, err := s.Command(ctx, "disk", "convert", filepath.Join(s.Store, result.OutputFile), raw, "--to", "raw").CombinedOutput()
	if err != nil {
		return fmt.Errorf("imageport disk convert: %w: %s", err, out)
	}
	return nil
}
