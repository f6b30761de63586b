package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"imageport/engine/enrol"
	"imageport/gateway"
	"imageport/job/durable"
	"imageport/job/seed"
	"imageport/testkit/cevm"
	"imageport/testkit/devserver"
)

// stages are what the machine says on its way, and what of the way is behind it
// then.
var stages = []struct{ name, says string }{
	{"kernel", "imageport-ce: starting "},
	{"drivers", "imageport-ce: drivers "},
	{"seed, network", "imageport-ce: working "},
	{"enrolment", "imageport-ce: enrolled "},
}

// goalEnrolled is how long a machine may take from its kernel's first moment.
const goalEnrolled = 5 * time.Second

// started is one start.
type started struct {
	wall   time.Duration   // from power-on until enrolled
	stages []time.Duration // by the kernel's clock, since it began to count
}

// starts measures machines from power-on until they have enrolled at a gateway
// of the product's.
func starts(t *bench, image cevm.Image, temporal *devserver.Server, rounds int) (err error) {
	g, err := listen(t, temporal.Client())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(t.ctx)
	served := make(chan error)
	go func() { served <- g.Serve(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-served)
	}()
	kinds := []struct {
		name    string
		options cevm.Options
		all     []started
	}{
		{name: "UEFI", options: cevm.Options{Firmware: cevm.UEFI, Disk: image.Raw}},
		{name: "BIOS", options: cevm.Options{Firmware: cevm.BIOS, Disk: image.Raw}},
		{name: "kernel without firmware"},
	}
	for round := range rounds + 1 {
		for i, k := range kinds { // in turn, so that what else the machine does meets all
			o := k.options
			o.Image, o.Network, o.MemoryMiB = image, cevm.User, 1024
			if o.Seed, err = invite(g, fmt.Sprintf("ce-%06d%06d", round, i)); err != nil {
				return err
			}
			one, err := start(t, o)
			if err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			if round > 0 {
				kinds[i].all = append(kinds[i].all, one)
			}
		}
	}
	fmt.Printf("until enrolled, %d starts of each; in a machine of 1024 MiB and one processor\n", rounds)
	for _, k := range kinds {
		var wall, kernel []time.Duration
		parts := make([][]time.Duration, len(stages))
		for _, one := range k.all {
			wall, kernel = append(wall, one.wall), append(kernel, one.stages[len(stages)-1])
			before := time.Duration(0)
			for i, at := range one.stages {
				parts[i], before = append(parts[i], at-before), at
			}
		}
		fmt.Printf("  %-32s %s from power-on\n", k.name, spread(wall))
		fmt.Printf("  %-32s %s from the kernel's start (goal: %v)\n", "", spread(kernel), goalEnrolled)
		for i, s := range stages {
			fmt.Printf("  %-32s %s\n", "    "+s.name, spread(parts[i]))
		}
	}
	fmt.Println()
	return nil
}

// start starts one machine, and ends it when it has enrolled.
func start(t *bench, o cevm.Options) (one started, err error) {
	err = t.alone(func(t *bench) error {
		begin := time.Now()
		v := cevm.Boot(t, o)
		v.Wait(stages[len(stages)-1].says)
		one.wall = time.Since(begin)
		for _, s := range stages {
			at, err := stamp(v.Console(), s.says)
			if err != nil {
				return err
			}
			one.stages = append(one.stages, at)
		}
		return nil
	})
	return one, err
}

// stamp is when the kernel's log has a text.
func stamp(console []string, text string) (time.Duration, error) {
	line := regexp.MustCompile(`^\[ *([0-9]+\.[0-9]+)\] ` + regexp.QuoteMeta(text))
	for _, l := range console {
		if found := line.FindStringSubmatch(l); found != nil {
			seconds, err := strconv.ParseFloat(found[1], 64)
			return time.Duration(seconds * float64(time.Second)), err
		}
	}
	return 0, fmt.Errorf("the console has no time of %q", text)
}

// ledger is the id of the workflow that all machines enrol for.
const ledger = "bench-appliance"

// listen opens a gateway whose jobs are one that lets everybody enrol.
func listen(t *bench, c client.Client) (*gateway.Gateway, error) {
	w := worker.New(c, ledger, worker.Options{DisableRegistrationAliasing: true})
	w.RegisterWorkflowWithOptions(everybody, workflow.RegisterOptions{Name: ledger})
	if err := w.Start(); err != nil {
		return nil, err
	}
	t.Cleanup(w.Stop)
	if _, err := c.ExecuteWorkflow(t.ctx, client.StartWorkflowOptions{ID: ledger, TaskQueue: ledger}, ledger); err != nil {
		return nil, err
	}
	key, err := gateway.LoadKey(filepath.Join(t.dir, "gateway.key"))
	if err != nil {
		return nil, err
	}
	return gateway.Listen(gateway.Config{
		Key: key, Listen: "127.0.0.1:0", Client: c, Namespace: devserver.Namespace, Log: slog.New(slog.DiscardHandler),
		Credential: func(context.Context, string) (enrol.CredentialReply, error) {
			return enrol.CredentialReply{}, errors.New("there is none")
		},
	})
}

// everybody is the ledger of a job without rules.
func everybody(ctx workflow.Context) error {
	err := errors.Join(
		workflow.SetUpdateHandler(ctx, durable.UpdateEnrol, func(workflow.Context, durable.Enrolment) error { return nil }),
		workflow.SetQueryHandler(ctx, durable.QueryAccess, func(durable.Enrolment) (durable.Access, error) { return durable.Access{}, nil }),
	)
	if err != nil {
		return err
	}
	return workflow.Await(ctx, func() bool { return false })
}

// invite makes the seed of a machine that reaches the gateway by QEMU's network.
func invite(g *gateway.Gateway, name string) ([]byte, error) {
	door, err := g.Invite(gateway.Peer{CE: name, Job: ledger}, "10.0.2.2:"+g.Port(), 5*time.Minute)
	if err != nil {
		return nil, err
	}
	return seed.Seed{Name: name, Deadline: time.Now().Add(time.Hour), Gateway: door}.Encode()
}
