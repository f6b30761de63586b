package worker

import (
	"context"
	"net"
	"time"

	"imageport/engine/enrol"
	"imageport/engine/share"
	"imageport/gateway"
	"imageport/job"
	"imageport/job/seed"
	"imageport/platforms"
)

// openGateway opens the door for Compositing Engines.
func (w *Worker) openGateway() error {
	key, err := gateway.LoadKey(w.cfg.Gateway.KeyFile)
	if err != nil {
		return err
	}
	w.gateway, err = gateway.Listen(gateway.Config{
		Key:           key,
		Listen:        w.cfg.Gateway.Listen,
		Client:        w.client,
		Namespace:     w.cfg.Namespace,
		Credential:    w.credentialForCE,
		ShareDriver:   w.cfg.ShareDriver,
		Log:           w.log(),
		CEsPerAddress: w.cfg.Gateway.CEsPerAddress,
	})
	return err
}

// invite gives a Compositing Engine what it needs to enrol for its job.
func (w *Worker) invite(driver platforms.Driver, ce, jobID string, within time.Duration) (seed.Gateway, error) {
	address := w.cfg.Gateway.Address
	if near, ok := driver.(platforms.Neighbour); ok && near.WorkerHost() != "" {
		address = net.JoinHostPort(near.WorkerHost(), w.gateway.Port())
	}
	if address == "" {
		return seed.Gateway{}, job.Errorf(job.BadRequest, `Set "address" under [gateway] in the worker's configuration to what Compositing Engines are to dial, as worker.example.com:7443`,
			"the worker does not know under which address its Compositing Engines reach it")
	}
	return w.gateway.Invite(gateway.Peer{CE: ce, Job: jobID}, address, within)
}

// shareCredential gives the worker itself the credential of a share on that host.
func (w *Worker) shareCredential(ctx context.Context, id, host string) (share.Credential, error) {
	c, err := w.cfg.Wallet.Credential(ctx, id)
	if err != nil {
		return share.Credential{}, err
	}
	user, err := c.UsernamePasswordFor(host)
	if err != nil {
		return share.Credential{}, err
	}
	return share.Credential{Username: user.Username, Password: user.Password.Reveal(), Domain: user.Domain}, nil
}

// credentialForCE gives the gateway a share's credential to hand out, for the
// hosts that go with it.
func (w *Worker) credentialForCE(ctx context.Context, id string) (enrol.CredentialReply, error) {
	c, err := w.cfg.Wallet.Credential(ctx, id)
	if err != nil {
		return enrol.CredentialReply{}, err
	}
	user, err := c.UsernamePassword()
	if err != nil {
		return enrol.CredentialReply{}, err
	}
	return enrol.CredentialReply{Username: user.Username, Password: user.Password.Reveal(), Domain: user.Domain, Hosts: c.Hosts}, nil
}
