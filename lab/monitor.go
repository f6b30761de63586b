package lab

import (
	"context"
	"time"

	"imageport/qmp"
)

// monitorPatience is for one answer. To close a disk, QEMU writes out all that it
// has of it.
const monitorPatience = 2 * time.Minute

// monitor is a conversation with a machine's QEMU.
type monitor struct{ client *qmp.Client }

// newMonitor opens the conversation. It ends when the process does.
func newMonitor(p *pipes) (*monitor, error) {
	ctx, stop := context.WithTimeout(context.Background(), monitorPatience)
	defer stop()
	client, err := qmp.Open(ctx, p)
	return &monitor{client}, err
}

// run has QEMU carry out a command.
func (m *monitor) run(command string, arguments any) error {
	ctx, stop := context.WithTimeout(context.Background(), monitorPatience)
	defer stop()
	return m.client.Run(ctx, command, arguments, nil)
}

// remove takes a device from the machine, and waits until the guest has let it
// go.
func (m *monitor) remove(device string) error {
	if err := m.run("device_del", map[string]any{"id": device}); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.Background(), monitorPatience)
	defer stop()
	return m.client.WaitDeleted(ctx, device)
}
