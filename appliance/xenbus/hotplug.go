package xenbus

import (
	"context"
	"errors"
	"fmt"
)

// AnnounceHotplug tells XenServer that disks can be attached to this machine
// while it runs: without, VBD.plug is refused with VM_MISSING_PV_DRIVERS for a
// machine with emulated devices. The host looks at what a machine says of itself
// when data/updated is written (xapi, xapi_guest_agent.ml). On a machine that is
// not on Xen it does nothing.
func AnnounceHotplug(ctx context.Context, dev string) error {
	b, err := Open(ctx, dev)
	if errors.Is(err, ErrNoDevice) {
		return nil
	}
	if err != nil {
		return err
	}
	defer b.Close()
	for _, key := range []string{"feature/hotplug/vbd", "data/updated"} {
		if err := b.Write(key, "1"); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}
