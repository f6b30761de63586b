package qemu

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"imageport/platforms"
	"imageport/platforms/screen"
)

// dumpScreen gives what the guest with that directory shows.
func dumpScreen(ctx context.Context, room string) ([]byte, error) {
	m, err := dial(ctx, room)
	if err != nil {
		return nil, err
	}
	defer m.close()
	// Two who look at the same time do not take each other's file.
	name := "screen-" + uuid.NewString() + ".png"
	path := filepath.Join(room, name)
	defer os.Remove(path)
	if err := m.run(ctx, "screendump", map[string]any{"filename": name, "format": "png"}, nil); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, screen.MaxFile+1))
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return screen.Fit(b, platforms.MaxScreen)
}
