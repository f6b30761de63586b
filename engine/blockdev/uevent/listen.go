package uevent

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// kernelGroup is the multicast group of the kernel's own events. Those of
	// group 2 are udev's, which is not there.
	kernelGroup = 1
	// receiveBuffer is what the kernel keeps for us. A coldplug of a big
	// machine sends about 1 MiB at once.
	receiveBuffer = 4 << 20
	// maxMessage is above UEVENT_BUFFER_SIZE (2048) and the head before it.
	maxMessage = 8 << 10
)

// Listen gives the events from now on, until ctx ends. Whoever takes them too
// slowly gets a Lost in their place.
func Listen(ctx context.Context) (<-chan Event, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("uevent: socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("uevent: listen to group %d: %w", kernelGroup, err)
	}
	// Without the right to it the buffer stays as small as it is.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	socket := os.NewFile(uintptr(fd), "uevent")
	raw, err := socket.SyscallConn()
	if err != nil {
		socket.Close()
		return nil, fmt.Errorf("uevent: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	events := make(chan Event)
	go func() {
		defer close(events)
		defer socket.Close()
		defer stop()
		buf := make([]byte, maxMessage)
		for {
			e, ok, err := receive(raw.Read, buf)
			if err != nil {
				return
			}
			if !ok {
				continue
			}
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return events, nil
}

// receive waits for one message. It gives false for one that is not the
// kernel's, and an error when the socket is closed.
func receive(wait func(func(fd uintptr) bool) error, buf []byte) (Event, bool, error) {
	var n int
	var from unix.Sockaddr
	var failed error
	err := wait(func(fd uintptr) bool {
		n, from, failed = unix.Recvfrom(int(fd), buf, 0)
		return !errors.Is(failed, unix.EAGAIN) && !errors.Is(failed, unix.EINTR)
	})
	switch {
	case err != nil:
		return Event{}, false, err
	case errors.Is(failed, unix.ENOBUFS):
		return Event{Action: Lost}, true, nil
	case failed != nil:
		return Event{}, false, failed
	}
	// Any process of root can send to the group; the kernel's port is 0.
	if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
		return Event{}, false, nil
	}
	e, err := Parse(buf[:n])
	return e, err == nil, nil
}
