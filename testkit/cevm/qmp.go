package cevm

import (
	"context"
	"fmt"
	"net"
	"time"

	"imageport/qmp"
)

// dial connects to the monitor of a QEMU that is just starting, unless that is over.
func dial(ctx context.Context, socket string, over func() bool) (*qmp.Client, error) {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			return qmp.Open(ctx, conn)
		}
		if over() || ctx.Err() != nil {
			return nil, fmt.Errorf("QEMU has no control socket: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
