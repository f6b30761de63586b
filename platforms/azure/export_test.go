package azure

import (
	"context"
	"time"
)

// What tests from outside see of the package.

// SetSettle sets for how long a call outlasts its context.
func (d *Driver) SetSettle(settle time.Duration) { d.settle = settle }

// Actions gives the table of actions.
func Actions() []Action {
	var all []Action
	for _, a := range actions {
		all = append(all, Action{On: string(a.on), For: string(a.use), ID: a.id, Why: a.why})
	}
	return all
}

// Action is one row of the table.
type Action struct{ On, For, ID, Why string }

// Covers is covers.
func Covers(pattern, action string) bool { return covers(pattern, action) }

// Fill uploads a VHD to the page blob at an address with the right to write to it.
func Fill(ctx context.Context, address, path string) error {
	p := &Platform{cfg: Config{PollInterval: time.Second}, vhd: newVHDFile(path)}
	vhd, err := p.vhd.Read(ctx)
	if err != nil {
		return err
	}
	return p.fill(ctx, address, vhd)
}
