package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// errRefused says that a server does not let us have the address any longer.
var errRefused = errors.New("the server refuses")

const (
	// firstWait is the wait for an answer to the first message; it doubles with
	// each. RFC 2131 section 4.1 begins with 4 seconds; on the networks of data
	// centers an answer comes in milliseconds or not at all.
	firstWait = time.Second
	// tries bounds the messages of one exchange: 1, 2, 4 and 8 seconds.
	tries = 4
)

// server is how leases are had. The error of a refusal wraps errRefused.
type server interface {
	// Acquire asks all servers for an address for the card.
	Acquire(ctx context.Context, c Card) (Lease, error)
	// Renew asks the lease's server for more time.
	Renew(ctx context.Context, c Card, l Lease) (Lease, error)
	// Rebind asks all servers for more time.
	Rebind(ctx context.Context, c Card, l Lease) (Lease, error)
}

// dhcp are the DHCP servers of a card's network.
type dhcp struct{}

var options = dhcpv4.WithRequestedOptions(dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionInterfaceMTU,
	dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue, dhcpv4.OptionIPAddressLeaseTime)

func (dhcp) Acquire(ctx context.Context, c Card) (Lease, error) {
	client, err := open(c)
	if err != nil {
		return Lease{}, err
	}
	defer client.Close()
	at := time.Now()
	got, err := client.Request(ctx, options)
	if err != nil {
		return Lease{}, plain(err)
	}
	return newLease(got.ACK, at, nil)
}

func (dhcp) Renew(ctx context.Context, c Card, l Lease) (Lease, error) {
	if !l.Server.IsValid() {
		return Lease{}, errors.New("the server has not said who it is")
	}
	from := &net.UDPAddr{IP: l.Address.Addr().AsSlice(), Port: nclient4.ClientPort}
	to := &net.UDPAddr{IP: l.Server.AsSlice(), Port: nclient4.ServerPort}
	client, err := open(c, nclient4.WithUnicast(from), nclient4.WithServerAddr(to))
	if err != nil {
		return Lease{}, err
	}
	defer client.Close()
	return extend(ctx, client, l)
}

func (dhcp) Rebind(ctx context.Context, c Card, l Lease) (Lease, error) {
	client, err := open(c)
	if err != nil {
		return Lease{}, err
	}
	defer client.Close()
	return extend(ctx, client, l)
}

func open(c Card, opts ...nclient4.ClientOpt) (*nclient4.Client, error) {
	client, err := nclient4.New(c.Name, append([]nclient4.ClientOpt{
		nclient4.WithHWAddr(c.MAC), nclient4.WithTimeout(firstWait), nclient4.WithRetry(tries)}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("DHCP client: %w", err)
	}
	return client, nil
}

// extend asks for the same address for longer (RFC 2131 section 4.3.2,
// RENEWING and REBINDING: without a server's name).
func extend(ctx context.Context, client *nclient4.Client, l Lease) (Lease, error) {
	ask, err := dhcpv4.NewRenewFromAck(l.ack, options)
	if err != nil {
		return Lease{}, fmt.Errorf("DHCP request: %w", err)
	}
	at := time.Now()
	answer, err := client.SendAndRead(ctx, client.RemoteAddr(), ask,
		nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak))
	if err != nil {
		return Lease{}, plain(err)
	}
	if answer.MessageType() == dhcpv4.MessageTypeNak {
		return Lease{}, refusal(answer.Message())
	}
	return newLease(answer, at, &l)
}

func refusal(why string) error {
	if why == "" {
		return errRefused
	}
	return fmt.Errorf("%w: %.100q", errRefused, why)
}

// plain says in few words what the library says in many.
func plain(err error) error {
	if nak, ok := errors.AsType[*nclient4.ErrNak](err); ok {
		return refusal(nak.Nak.Message())
	}
	if errors.Is(err, nclient4.ErrNoResponse) {
		return errors.New("no answer")
	}
	return err
}
