package seedsource

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"imageport/job/seed"
)

// ErrMalformed means that a source has something under the seed's name that
// cannot be a seed. The error says which source and what is wrong with it.
var ErrMalformed = errors.New("malformed")

// NotFoundError means that none of the sources that were asked has a seed.
type NotFoundError struct {
	// Machine is what the firmware says that this machine is, in quotes. It
	// decided which sources were asked.
	Machine string
	// Said has a line for every source that was asked: its name and its answer.
	Said []string
}

func (e *NotFoundError) Error() string {
	said := "it has no source of this kind"
	if len(e.Said) > 0 {
		said = strings.Join(e.Said, "; ")
	}
	return "no seed on this machine, " + e.Machine + ": " + said
}

// Local asks the sources that need no network, for some seconds: devices may
// come late. It gives the seed as it was found, and the name of its source.
//
// The error is a *NotFoundError if there is none, wraps ErrMalformed if what is
// there is no seed, or is the context's cause.
func Local(ctx context.Context, env Env) (raw []byte, source string, err error) {
	p := env.platform()
	late := time.Now().Add(p.patience)
	for {
		raw, source, err = ask(ctx, env, p.local(env), localTimeout)
		var none *NotFoundError
		if !errors.As(err, &none) || !time.Now().Add(pause).Before(late) {
			return raw, source, err
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, "", err
		}
	}
}

// Network asks the metadata service of the machine's cloud, for some seconds:
// the service may come late. Its results are like those of Local.
func Network(ctx context.Context, env Env) (raw []byte, source string, err error) {
	return ask(ctx, env, env.platform().network, metadataPatience+attempt)
}

// OnNetwork reports whether Network has anything to ask on this machine.
func OnNetwork(env Env) bool { return len(env.platform().network) > 0 }

const (
	// pause is between two rounds of Local.
	pause = 500 * time.Millisecond
	// devicePatience is how long Local waits for a device, such as an optical
	// drive that is still being probed.
	devicePatience = 5 * time.Second
	// localTimeout bounds what a local source may take, the kernel's time-outs
	// for a drive included.
	localTimeout = 10 * time.Second
)

// source is one place to look. Its errors are without its name.
type source struct {
	name string
	read func(context.Context, Env) ([]byte, error)
}

// platform is what a kind of machine has.
type platform struct {
	local    func(Env) []source
	patience time.Duration
	network  []source
}

// platform tells the platforms apart. XenServer may show the names of the
// host's maker; the hypervisor gives it away.
func (e Env) platform() platform {
	hypervisor, _ := readFile(filepath.Join(e.Sys, "hypervisor/type"), 64)
	vendor := e.dmi("sys_vendor")
	only := func(first ...source) func(Env) []source {
		return func(e Env) []source { return slices.Concat(first, e.drives()) }
	}
	switch {
	case strings.TrimSpace(string(hypervisor)) == "xen" || vendor == "Xen":
		return platform{local: only(source{"xenstore", xenstore}), patience: devicePatience}
	case strings.HasPrefix(vendor, "VMware"):
		return platform{local: only(source{"guestinfo", guestInfo}), patience: devicePatience}
	case vendor == "Microsoft Corporation":
		// The disc is rare and the network is still to be asked: do not wait.
		return platform{local: only(), network: []source{{"Azure metadata", azure}}}
	case vendor == "Google":
		return platform{local: func(Env) []source { return nil }, network: []source{{"GCP metadata", gcp}}}
	default:
		return platform{local: only(source{"fw_cfg", fwCfg}, source{"SMBIOS", smbios}), patience: devicePatience}
	}
}

// ask asks sources until one has a seed, or something malformed in its place.
func ask(ctx context.Context, env Env, sources []source, timeout time.Duration) ([]byte, string, error) {
	none := &NotFoundError{Machine: fmt.Sprintf("%.64q %.64q", env.dmi("sys_vendor"), env.dmi("product_name"))}
	for _, s := range sources {
		raw, err := bounded(ctx, env, s, timeout)
		switch {
		case err == nil && len(raw) > seed.MaxBytes:
			return nil, "", fmt.Errorf("seed: %s: %w", s.name, malformed("more than %d bytes", seed.MaxBytes))
		case err == nil && len(raw) > 0:
			return raw, s.name, nil
		case ctx.Err() != nil:
			return nil, "", fmt.Errorf("seed: %s: %w", s.name, context.Cause(ctx))
		case errors.Is(err, ErrMalformed):
			return nil, "", fmt.Errorf("seed: %s: %w", s.name, err)
		case err == nil:
			none.Said = append(none.Said, s.name+": empty")
		default:
			none.Said = append(none.Said, s.name+": "+because(err))
		}
	}
	return nil, "", none
}

// bounded reads a source, and leaves it alone if it does not answer in time: a
// system call on a device cannot be called back.
func bounded(ctx context.Context, env Env, s source, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer in %s", timeout))
	defer cancel()
	type answer struct {
		raw []byte
		err error
	}
	done := make(chan answer, 1)
	go func() {
		raw, err := s.read(ctx, env)
		done <- answer{raw, err}
	}()
	select {
	case a := <-done:
		return a.raw, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("seed: %w", context.Cause(ctx))
	}
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// maxText is the longest text that can hold a seed in base64, with room for
// line breaks.
const maxText = 2 * seed.MaxBytes

// decode takes base64 apart. Its errors give places, not content.
func decode(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if len(text) > maxText {
		return nil, malformed("more than %d characters", maxText)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	var at base64.CorruptInputError
	if errors.As(err, &at) {
		return nil, malformed("no base64 at character %d", int64(at))
	}
	return raw, err
}
