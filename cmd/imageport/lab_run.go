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

// What runs in the VMs of a lab.
const (
	guestsProcess = "process"
	guestsVM      = "vm"
)

// forgetTimeout is how long the wallet may take at the end.
const forgetTimeout = 10 * time.Second

// labRun is a lab to run.
type labRun struct {
	section string // of the worker's configuration, and of the credential's default id
	start   func(context.Context, lab.Config) (*lab.Lab, error)
	is      string                  // says with its URL, and how guests run, what there is
	storage func(job.Target) string // says which storage the disks are in

	guests, appliance, dir, listen, credential string
}

// labRunCommand makes cmd the command that runs r.
func (a *app) labRunCommand(r *labRun, cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = a.do(func(ctx context.Context, _ []string) error { return a.runLab(ctx, *r) })
	flags := cmd.Flags()
	flags.StringVar(&r.dir, "dir", "", "`directory` for the disks and the logs, which stay (default: a temporary one)")
	flags.StringVar(&r.listen, "listen", "127.0.0.1:0", "`host:port` to listen on; port 0 is a free one")
	flags.StringVar(&r.credential, "credential", "lab-"+r.section, "`id` of the platform's credential in the wallet")
	return cmd
}

// check looks at the flags that all labs have.
func (r labRun) check() error {
	if _, _, err := net.SplitHostPort(r.listen); err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	return nil
}

func (a *app) runLab(ctx context.Context, r labRun) (err error) {
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
	// Simulators have no other logger: what they say is for who develops them.
	log.SetOutput(slog.NewLogLogger(logger.Handler(), slog.LevelDebug).Writer())
	l, err := r.start(ctx, lab.Config{Dir: r.dir, Listen: r.listen, Appliance: r.appliance, AgentProgram: program, Log: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	value := wallet.UsernamePassword{Username: l.Username(), Password: wallet.NewSecret(l.Password())}
	_, err = editor.Add(ctx, wallet.Credential{ID: r.credential, Value: value}, false)
	if errors.Is(err, wallet.ErrExists) {
		return job.Errorf(job.BadRequest, "Give another id with --credential; or remove it, if a lab that was killed has left it",
			"there is a credential %q in %s already", r.credential, cfg.Wallet.Where())
	}
	if err != nil {
		return err
	}
	defer func() {
		forget, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetTimeout)
		defer cancel()
		err = errors.Join(err, editor.Remove(forget, r.credential))
	}()
	if err := a.printLab(r, newLabSheet(l, r, cfg), cfg.Path); err != nil {
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
	Storage        string `json:"storageDirectory"`
	Logs           string `json:"logDirectory"`
}

func newLabSheet(l *lab.Lab, r labRun, cfg config.Config) labSheet {
	s := labSheet{
		URL: l.URL(), Request: l.Target(r.credential), Appliance: l.Appliance,
		Storage: l.Storage(), Logs: l.Logs(),
	}
	if _, port, err := net.SplitHostPort(cfg.Gateway.Listen); err == nil {
		s.GatewayAddress = net.JoinHostPort(l.WorkerHost, port)
	}
	return s
}

// printLab prints the sheet. config is the path of the configuration, if there
// is one.
func (a *app) printLab(r labRun, s labSheet, config string) error {
	if a.output == outputJSON {
		return a.printJSON(s)
	}
	guests := "as processes of this machine"
	if r.guests == guestsVM {
		guests = "in QEMU"
	}
	p := printer{w: a.out}
	p.line(r.is, s.URL, guests)
	if config != "" {
		config = ", " + config + ","
	}
	p.line("\nThe worker's configuration%s needs, and then the worker a restart:\n", config)
	p.line("  [gateway]\n  address = %q\n\n  [%s]\n  appliance = %q", s.GatewayAddress, r.section, s.Appliance)
	p.line("\nRequests need, beside the image and what is to be made of it:\n")
	if p.err == nil {
		p.err = a.printJSON(s.Request)
	}
	p.line("\nThe %s is %s; what guests say is in %s.", r.storage(s.Request), s.Storage, s.Logs)
	if r.dir == "" {
		p.line("^C ends it, and removes all of it.")
	} else {
		p.line("^C ends it. The files stay.")
	}
	return p.err
}
