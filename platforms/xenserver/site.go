package xenserver

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"imageport/platforms"
	"imageport/platforms/xenserver/xapi"
)

// repository is a storage repository as it was read.
type repository struct {
	ref         xapi.Ref
	UUID        string     `json:"uuid"`
	Name        string     `json:"name_label"`
	Type        string     `json:"type"`
	ContentType string     `json:"content_type"`
	Size        int64      `json:"physical_size"`
	Used        int64      `json:"physical_utilisation"`
	PBDs        []xapi.Ref `json:"PBDs"`
}

// repository reads the request's SR.
func (d *Driver) repository(ctx context.Context) (*repository, error) {
	id := strings.ToLower(d.where.StorageRepositoryUUID)
	r := &repository{}
	err := d.client.Call(ctx, "SR.get_by_uuid", &r.ref, id)
	if err == nil {
		err = d.client.Call(ctx, "SR.get_record", r, r.ref)
	}
	if gone(err) {
		return nil, platforms.Errorf(platforms.NotFound, "storageRepositoryUuid: the pool has no SR %s", id)
	}
	if err != nil {
		return nil, fmt.Errorf("SR %s: %w", id, err)
	}
	if r.ContentType == "iso" || r.Type == "iso" || r.Type == "udev" {
		return nil, platforms.Errorf(platforms.BadRequest, "SR %s (%s) is for discs and devices, not for VDIs: content type %q, type %q", r.Name, r.UUID, r.ContentType, r.Type)
	}
	return r, nil
}

// network finds the request's network, by its name or UUID.
func (d *Driver) network(ctx context.Context) (xapi.Ref, error) {
	wanted := d.where.Network
	if id, err := uuid.Parse(wanted); err == nil {
		var ref xapi.Ref
		err := d.client.Call(ctx, "network.get_by_uuid", &ref, id.String())
		if !is(err, "UUID_INVALID") {
			return ref, err
		}
	}
	var found []xapi.Ref
	if err := d.client.Call(ctx, "network.get_by_name_label", &found, wanted); err != nil {
		return "", err
	}
	if len(found) == 1 {
		return found[0], nil
	}
	var all map[xapi.Ref]struct {
		UUID string `json:"uuid"`
		Name string `json:"name_label"`
	}
	if err := d.client.Call(ctx, "network.get_all_records", &all); err != nil {
		return "", err
	}
	var names, ids []string
	for _, n := range all {
		names = append(names, n.Name)
		if n.Name == wanted {
			ids = append(ids, n.UUID)
		}
	}
	slices.Sort(names)
	slices.Sort(ids)
	if len(found) > 1 {
		return "", platforms.Errorf(platforms.BadRequest, "network: there are %d of the name %q; give the UUID: %s", len(found), wanted, strings.Join(ids, " or "))
	}
	return "", platforms.Errorf(platforms.NotFound, "network: there is no %q; there is %s", wanted, strings.Join(slices.Compact(names), ", "))
}

// hostKeys are the fingerprints of the certificates of the pool's hosts, by their
// addresses, in the words of the coordinator.
type hostKeys struct {
	// pin is the fingerprint of the certificate in the request, where nothing else
	// vouches for one.
	pin string

	mu   sync.Mutex
	keys map[string]string
}

// fingerprint gives that of the host at host:port. Where nothing is known of it,
// its certificate has to be the one that the request names, if that names one.
func (h *hostKeys) fingerprint(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return h.pin
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return cmp.Or(h.keys[host], h.pin)
}

// learnHosts asks for the certificates of all hosts, so that a disk's bytes can be
// sent to a host that the coordinator names: where nothing but a fingerprint
// vouches for the coordinator, that says nothing of its siblings.
func (p *pool) learnHosts(ctx context.Context) error {
	if p.hosts.pin == "" {
		return nil
	}
	var hosts map[xapi.Ref]struct {
		Address string `json:"address"`
	}
	if err := p.client.Call(ctx, "host.get_all_records", &hosts); err != nil || len(hosts) < 2 {
		return err
	}
	var certificates map[xapi.Ref]struct {
		Type        string   `json:"type"`
		Host        xapi.Ref `json:"host"`
		Fingerprint string   `json:"fingerprint"`
	}
	if err := p.client.Call(ctx, "Certificate.get_all_records", &certificates); is(err, "MESSAGE_METHOD_UNKNOWN") {
		return nil // an old pool: it keeps what it has to send there for itself
	} else if err != nil {
		return err
	}
	keys := make(map[string]string)
	for _, c := range certificates {
		if c.Type == "host" && hosts[c.Host].Address != "" {
			keys[hosts[c.Host].Address] = c.Fingerprint
		}
	}
	p.hosts.mu.Lock()
	defer p.hosts.mu.Unlock()
	p.hosts.keys = keys
	return nil
}
