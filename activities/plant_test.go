package activities_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"imageport/platforms"
)

// plant is a platform in memory. It can refuse what it is asked for.
type plant struct {
	mu           sync.Mutex
	ces          map[string]platforms.Instance
	list, refuse error // of List and Destroy
}

// errDefect makes List panic.
var errDefect = errors.New("defect")

func newPlant() *plant { return &plant{ces: map[string]platforms.Instance{}} }

func (p *plant) Check(context.Context, platforms.Spec) error { return nil }

func (p *plant) Create(_ context.Context, ce platforms.Spec) (platforms.Instance, error) {
	return p.put(platforms.Instance{Name: ce.Name, Job: ce.Job, RunID: ce.RunID, Owner: ce.Owner, Created: time.Now()}), nil
}

func (p *plant) put(ce platforms.Instance) platforms.Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	ce.State = platforms.Running
	p.ces[ce.Name] = ce
	return ce
}

func (p *plant) Stop(context.Context, string) error { return nil }

func (p *plant) Destroy(_ context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		return p.refuse
	}
	delete(p.ces, name)
	return nil
}

func (p *plant) Find(_ context.Context, name string) (platforms.Instance, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ce, ok := p.ces[name]
	if !ok {
		return ce, platforms.Errorf(platforms.NotFound, "%w", platforms.ErrNotFound)
	}
	return ce, nil
}

func (p *plant) List(context.Context) ([]platforms.Instance, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.list == errDefect {
		panic("list of nothing")
	}
	if p.list != nil {
		return nil, p.list
	}
	var list []platforms.Instance
	for _, ce := range p.ces {
		list = append(list, ce)
	}
	return list, nil
}

func (p *plant) has(names ...string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !slices.ContainsFunc(names, func(n string) bool { _, ok := p.ces[n]; return !ok })
}
