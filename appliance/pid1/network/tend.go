package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	// again is the pause after an exchange that came to nothing.
	again = time.Second
	// minPause is the least between two requests for more time. RFC 2131
	// section 4.4.5 has a minute, which some leases do not last.
	minPause = 5 * time.Second
)

// errExpired says that no server gave more time.
var errExpired = errors.New("the lease ran out")

// tend gets leases for a card, one after the other, until ctx ends or the card
// that serves the machine loses its.
func (n *network) tend(ctx context.Context, c Card) {
	for ctx.Err() == nil {
		l, err := n.server.Acquire(ctx, c)
		serves := false
		if err == nil {
			serves = n.serves(c)
			err = n.apply(c, l, serves)
		}
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			n.Log.Info("no lease yet", "card", c.Name, "error", err)
			n.say(c, err)
			pause(ctx, again)
			continue
		}
		if serves {
			select {
			case n.first <- c:
			default: // told already
			}
		}
		l, err = n.hold(ctx, c, l, serves)
		if ctx.Err() != nil {
			return
		}
		n.Log.Error("address lost", "card", c.Name, "address", l.Address, "error", err)
		if err := n.stack.DropAddress(c, l.Address); err != nil {
			n.Log.Warn("address lost", "error", err)
		}
		if serves {
			n.lost <- fmt.Errorf("address %s of %s by DHCP is lost: %w", l.Address, c, err)
			return
		}
	}
}

// apply makes the lease the card's. Only the card that serves has the way to
// everywhere else, and the name servers.
func (n *network) apply(c Card, l Lease, serves bool) error {
	n.Log.Info("address by DHCP", "card", c.Name, "address", l.Address, "routes", l.Routes, "dns", l.DNS, "mtu", l.MTU,
		"server", l.Server, "lease", l.Expire, "serves", serves)
	if l.MTU != 0 {
		// Not every card can have every MTU; a smaller one than the network's works.
		if err := n.stack.MTU(c, l.MTU); err != nil {
			n.Log.Warn("as it was", "error", err)
		}
	}
	if err := n.stack.Address(c, l.Address); err != nil {
		return err
	}
	for _, r := range l.Routes {
		if r.To.Bits() == 0 && !serves {
			continue
		}
		if err := n.stack.Route(c, r); err != nil {
			return err
		}
	}
	if !serves {
		return nil
	}
	return n.resolve(l.DNS)
}

// hold keeps a lease until it is refused, runs out, or ctx ends. It gives the
// lease as it was last.
func (n *network) hold(ctx context.Context, c Card, l Lease, serves bool) (Lease, error) {
	for {
		if l.Expire >= forever {
			<-ctx.Done()
			return l, context.Cause(ctx)
		}
		if !pause(ctx, time.Until(l.From.Add(l.Renew))) {
			return l, context.Cause(ctx)
		}
		next, err := n.extend(ctx, c, l)
		if err != nil {
			return l, err
		}
		if next.Address != l.Address {
			return l, fmt.Errorf("the server gave %s in its place", next.Address)
		}
		if !slices.Equal(next.Routes, l.Routes) || !slices.Equal(next.DNS, l.DNS) || next.MTU != l.MTU {
			if err := n.apply(c, next, serves); err != nil {
				return next, err
			}
		}
		n.Log.Debug("lease renewed", "card", c.Name, "address", next.Address, "lease", next.Expire)
		l = next
	}
}

// extend asks for more time until it is granted or refused, or the lease has
// run out: the lease's own server first, then all (RFC 2131 section 4.4.5).
func (n *network) extend(ctx context.Context, c Card, l Lease) (Lease, error) {
	var last error
	for {
		now := time.Now()
		rebind, expire := l.From.Add(l.Rebind), l.From.Add(l.Expire)
		if !now.Before(expire) {
			return l, fmt.Errorf("%w after %v: %w", errExpired, l.Expire, last)
		}
		ask, until := n.server.Renew, rebind
		if !now.Before(rebind) {
			ask, until = n.server.Rebind, expire
		}
		asking, cancel := context.WithDeadlineCause(ctx, until, errors.New("no answer"))
		next, err := ask(asking, c, l)
		if err != nil && asking.Err() != nil {
			err = context.Cause(asking)
		}
		cancel()
		switch {
		case err == nil:
			return next, nil
		case ctx.Err() != nil:
			return l, context.Cause(ctx)
		case errors.Is(err, errRefused):
			return l, err
		}
		last = err
		n.Log.Warn("lease not renewed", "card", c.Name, "address", l.Address, "ends", time.Until(expire).Round(time.Second), "error", err)
		// Half of what is left, as the RFC has it, but not beyond it.
		left := time.Until(until)
		if !pause(ctx, min(max(left/2, minPause), max(left, 0))) {
			return l, context.Cause(ctx)
		}
	}
}

// pause waits, and reports whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
