package ovmf

import (
	"context"
	"fmt"
	"net"
	"path/filepath"

	"imageport/qmp"
)

// screendump has the machine write its screen to a PNG file, over QEMU's
// control socket (QMP).
func screendump(ctx context.Context, socket, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("ovmf: screenshot: %w", err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("ovmf: screenshot: %w", err)
	}
	client, err := qmp.Open(ctx, conn)
	if err != nil {
		return fmt.Errorf("ovmf: screenshot: %w", err)
	}
	defer client.Close()
	if err := client.Run(ctx, "screendump", map[string]any{"filename": path, "format": "png"}, nil); err != nil {
		return fmt.Errorf("ovmf: screenshot: %w", err)
	}
	return nil
}
