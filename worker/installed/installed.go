// Package installed has the platforms that the program was built with, and makes
// those that the configuration asks for. Build tags leave platforms out:
// no_vsphere, no_xenserver, no_azure, no_gcp. A configuration that asks for one
// that is not there is refused.
package installed

import (
	"context"
	"errors"
	"fmt"

	"imageport/config"
	"imageport/job"
	"imageport/platforms"
	"imageport/wallet"
)

// Platforms are those of a configuration that only requests place.
type Platforms struct {
	Registry platforms.Registry
	closers  []func(context.Context) error
}

// platform is one that was made. Its close may be nil.
type platform struct {
	open  platforms.Opener
	close func(context.Context) error
}

// known are the platforms that there may be.
var known = []struct {
	name string
	// wanted reports whether the configuration asks for it.
	wanted func(config.Config) bool
	// build is nil where the program was built without the platform.
	build func(config.Config, wallet.Provider) (platform, error)
}{
	{job.PlatformVSphere, func(c config.Config) bool { return c.VSphere.Appliance != "" || c.VSphere.Template != "" }, buildVSphere},
	{job.PlatformXenServer, func(c config.Config) bool { return c.XenServer.Appliance != "" }, buildXenServer},
	{job.PlatformAzure, func(c config.Config) bool { return c.Azure.Appliance != "" || c.Azure.Image != "" }, buildAzure},
	{job.PlatformGCP, func(c config.Config) bool { return c.GCP.Appliance != "" || c.GCP.Image != "" }, buildGCP},
}

// Open makes the platforms that the configuration asks for, with credentials of
// the wallet. It connects to nothing.
func Open(cfg config.Config, secrets wallet.Provider) (*Platforms, error) {
	p := &Platforms{Registry: platforms.Registry{}}
	for _, k := range known {
		if !k.wanted(cfg) {
			continue
		}
		if k.build == nil {
			return nil, fmt.Errorf("the configuration has platform %s, and this program was built without it", k.name)
		}
		made, err := k.build(cfg, secrets)
		if err != nil {
			return nil, err
		}
		p.Registry[k.name] = made.open
		if made.close != nil {
			p.closers = append(p.closers, made.close)
		}
	}
	return p, nil
}

// Close ends the sessions of all platforms.
func (p *Platforms) Close(ctx context.Context) error {
	var errs []error
	for _, c := range p.closers {
		errs = append(errs, c(ctx))
	}
	return errors.Join(errs...)
}

// Names are the platforms that the program was built with.
func Names() []string {
	var names []string
	for _, k := range known {
		if k.build != nil {
			names = append(names, k.name)
		}
	}
	return names
}

// hostKey is the context key of the host that a platform is opened at.
type hostKey struct{}

// at has the platform that open opens log in at the host that the request names:
// login has to know it, and platforms ask for credentials by id only.
func at(host func(job.Target) string, open platforms.Opener) platforms.Opener {
	return func(ctx context.Context, where job.Target) (platforms.Driver, error) {
		return open(context.WithValue(ctx, hostKey{}, host(where)), where)
	}
}

// login gives the name and the password of a UsernamePassword of the wallet, for
// the host of at. Where there is none, only one that is for any host is given.
func login(secrets wallet.Provider) func(context.Context, string) (username, password string, err error) {
	return func(ctx context.Context, id string) (username, password string, err error) {
		c, err := secrets.Credential(ctx, id)
		if err != nil {
			return "", "", err
		}
		host, _ := ctx.Value(hostKey{}).(string)
		user, err := c.UsernamePasswordFor(host)
		if err != nil {
			return "", "", err
		}
		name := user.Username
		if user.Domain != "" {
			name = user.Domain + `\` + name
		}
		return name, user.Password.Reveal(), nil
	}
}
