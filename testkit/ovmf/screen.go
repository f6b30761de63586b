package ovmf

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
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
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	replies := json.NewDecoder(conn)
	var greeting json.RawMessage
	if err := replies.Decode(&greeting); err != nil {
		return fmt.Errorf("ovmf: screenshot: %w", err)
	}
	for _, command := range []map[string]any{
		{"execute": "qmp_capabilities"},
		{"execute": "screendump", "arguments": map[string]any{"filename": path, "format": "png"}},
	} {
		if err := json.NewEncoder(conn).Encode(command); err != nil {
			return fmt.Errorf("ovmf: screenshot: %w", err)
		}
		if err := answer(replies); err != nil {
			return fmt.Errorf("ovmf: screenshot: %w", err)
		}
	}
	return nil
}

// answer reads the answer to a command; events may come before it.
func answer(replies *json.Decoder) error {
	for {
		var reply struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		switch err := replies.Decode(&reply); {
		case err != nil:
			return err
		case reply.Error != nil:
			return fmt.Errorf("qemu: %s", reply.Error.Desc)
		case reply.Return != nil:
			return nil
		}
	}
}
