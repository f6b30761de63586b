package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"imageport/config"
	"imageport/job"
	"imageport/lab"
	"imageport/wallet"
)

// What runs in the lab's VMs.
const (
	guestsProcess = "process"
	guestsVM      = "vm"
)

// forgetTimeout is how long the wallet may take at the end.
const forgetTimeout = 10 * time.Second

// labFlags say what lab to run.
type labFlags struct {
	guests, appliance, dir, listen, credential string
}

func (a *app) labVSphereCommand() *cobra.Command {
	var f labFlags
	cmd := &cobra.Command{
		Use:   "vsphere",
		Short: "Run a simulated vCenter whose Compositing Engines really run",
		Long: `Run a simulated vCenter whose Compositing Engines really run, until ^C. It prints what the
worker's configuration and the requests need for it.

A Compositing Engine is a process of this machine, or with --guests vm a virtual machine
in QEMU that starts from the appliance, which the worker imports. Its disks are files in the datastore's directory: a
disk that a job leaves is a VMDK for everything that reads VMDKs.

The vCenter has a certificate and a password that are made for it. The password is in the
wallet of the configuration, under --credential, for as long as the command runs; it is not
printed. Without --dir, all files are gone at the end.`,
		Example: `  imageport lab vsphere
  imageport lab vsphere --dir ./lab --listen 127.0.0.1:8989
  imageport lab vsphere --guests vm --appliance build/appliance/imageport-ce.ova
  imageport lab vsphere -o json | jq .request`,
		Args:    cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error { return f.check() },
		RunE:    a.do(func(ctx context.Context, _ []string) error { return a.labVSphere(ctx, f) }),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.guests, "guests", guestsProcess, "run Compositing Engines as `process or vm`")
	flags.StringVar(&f.appliance, "appliance", "", "`file` with the appliance's OVA, for --guests vm")
	flags.StringVar(&f.dir, "dir", "", "`directory` for the datastore and the logs, which stay (default: a temporary one)")
	flags.StringVar(&f.listen, "listen", "127.0.0.1:0", "`host:port` of the vCenter; port 0 is a free one")
	flags.StringVar(&f.credential, "credential", "lab-vsphere", "`id` of the vCenter's credential in the wallet")
	_ = cmd.RegisterFlagCompletionFunc("guests", cobra.FixedCompletions([]string{guestsProcess, guestsVM}, cobra.ShellCompDirectiveNoFileComp)) // it fails for a flag that is not there
	return cmd
}

func (f labFlags) check() error {
	switch {
	case f.guests != guestsProcess && f.guests != guestsVM:
		return fmt.Errorf("--guests is %q: it is neither %s nor %s", f.guests, guestsProcess, guestsVM)
	case f.guests == guestsVM && f.appliance == "":
		return fmt.Errorf("--appliance is missing, which --guests %s needs: imageport appliance build --formats ova makes one", guestsVM)
	case f.guests == guestsProcess && f.appliance != "":
		return fmt.Errorf("--appliance is for --guests %s", guestsVM)
	}
	if _, _, err := net.SplitHostPort(f.listen); err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	return nil
}

func (a *app) labVSphere(ctx context.Context, f labFlags) (err error) {
	cfg, err := config.Load(a.config)
	if err != nil {
		return err
	}
	w, err := wallet.Open(cfg.Wallet)
	if err != nil {
		return err
	}
	editor, err := w.Editor()
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the running program: %w", err)
	}
	logger := slog.New(slog.NewTextHandler(a.err, nil))
	// The simulator has no other logger: what it says is for who develops it.
	log.SetOutput(slog.NewLogLogger(logger.Handler(), slog.LevelDebug).Writer())
	l, err := lab.Start(ctx, lab.Config{Dir: f.dir, Listen: f.listen, Appliance: f.appliance, AgentProgram: program, Log: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	value := wallet.UsernamePassword{Username: l.VCenter.Username(), Password: wallet.NewSecret(l.VCenter.Password())}
	_, err = editor.Add(ctx, wallet.Credential{ID: f.credential, Value: value}, false)
	if errors.Is(err, wallet.ErrExists) {
		return job.Errorf(job.BadRequest, "Give another id with --credential; or remove it, if a lab that was killed has left it",
			"there is a credential %q in %s already", f.credential, cfg.Wallet.Where())
	}
	if err != nil {
		return err
	}
	defer func() {
		forget, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetTimeout)
		defer cancel()
		err = errors.Join(err, editor.Remove(forget, f.credential))
	}()
	if err := a.printLab(newLabSheet(l, f, cfg), cfg.Path); err != nil {
		return err
	}
	<-ctx.Done() // that is how it is meant to end
	return nil
}

// labSheet is what one has to know to use the lab.
type labSheet struct {
	URL string `json:"url"`
	// Request are the keys of a request that are about the platform.
	Request job.Target `json:"request"`
	// GatewayAddress and Appliance are for the worker's configuration.
	GatewayAddress string `json:"gatewayAddress"`
	Appliance      string `json:"appliance"`
	Datastore      string `json:"datastoreDirectory"`
	Logs           string `json:"logDirectory"`

	temporary bool
	guests    string
}

func newLabSheet(l *lab.Lab, f labFlags, cfg config.Config) labSheet {
	s := labSheet{
		URL: l.VCenter.URL(), Request: l.Target(f.credential), Appliance: l.Appliance,
		Datastore: l.Datastore(), Logs: l.Logs(),
		temporary: f.dir == "", guests: "as processes of this machine",
	}
	if _, port, err := net.SplitHostPort(cfg.Gateway.Listen); err == nil {
		s.GatewayAddress = net.JoinHostPort(l.WorkerHost, port)
	}
	if f.guests == guestsVM {
		s.guests = "in QEMU"
	}
	return s
}

// printLab prints the sheet. config is the path of the configuration, if there
// is one.
func (a *app) printLab(s labSheet, config string) error {
	if a.output == outputJSON {
		return a.printJSON(s)
	}
	p := printer{w: a.out}
	p.line("A simulated vCenter runs at %s. It has no ESXi; Compositing Engines run %s.", s.URL, s.guests)
	if config != "" {
		config = ", " + config + ","
	}
	p.line("\nThe worker's configuration%s needs, and then the worker a restart:\n", config)
	p.line("  [gateway]\n  address = %q\n\n  [vsphere]\n  appliance = %q", s.GatewayAddress, s.Appliance)
	p.line("\nRequests need, beside the image and what is to be made of it:\n")
	if p.err == nil {
		p.err = a.printJSON(s.Request)
	}
	p.line("\nThe datastore [%s] is %s; what guests say is in %s.", s.Request.Datastore, s.Datastore, s.Logs)
	if s.temporary {
		p.line("^C ends it, and removes all of it.")
	} else {
		p.line("^C ends it. The files stay.")
	}
	return p.err
}
