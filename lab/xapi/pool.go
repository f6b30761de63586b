package xapi

import (
	"time"

	"imageport/lab/guest"
)

// DefaultUsername is that of a pool's first administrator.
const DefaultUsername = "root"

// Config says what a Pool is like.
type Config struct {
	// Listen is the address of the coordinator, 127.0.0.1 and a free port by
	// default.
	Listen string
	// SupporterListen is the address of a second host of the pool, which sends
	// everybody to the coordinator. There is none by default. The port 0 is that
	// of Listen: the coordinator is named to clients by its address alone, as
	// every host has the same port.
	SupporterListen string
	// Dir is the directory of the VDIs. By default it is a temporary one, which
	// Close removes.
	Dir string
	// Username and Password are the only ones that may log in: DefaultUsername
	// and a random password by default.
	Username, Password string
	// Guests runs what is in the VMs. If nil, VMs are only said to run.
	Guests guest.Guests
	// SRs are the storage repositories, DefaultSRs by default. The first one is
	// the pool's default.
	SRs []SR
	// Networks are their names, DefaultNetwork by default.
	Networks []string
}

// SR is a storage repository.
type SR struct {
	Name      string
	SizeBytes int64
	// Shared is of one that all hosts see. Another one is the coordinator's.
	Shared bool
}

// DefaultNetwork is the network that a new host has.
const DefaultNetwork = "Pool-wide network associated with eth0"

// Pool is a simulated pool that listens. Its methods may be called at the same
// time.
type Pool struct{ cfg Config }

// Start starts a Pool: one or two hosts, their SRs and networks, the template
// "Other install media", and no VMs.
func Start(cfg Config) (*Pool, error) { return &Pool{cfg: cfg}, nil }

// Close stops to serve, waits for the tasks that run, and switches the guests
// off. What is in Config.Dir stays.
func (p *Pool) Close() {}

// Host is the address that the coordinator listens on, without the port.
func (p *Pool) Host() string { return "" }

// Port is the port that it listens on.
func (p *Pool) Port() int { return 0 }

// URL is that of the coordinator, "https://host:port".
func (p *Pool) URL() string { return "" }

// SupporterHost is the address of the second host, "" if there is none.
func (p *Pool) SupporterHost() string { return "" }

// SupporterPort is its port.
func (p *Pool) SupporterPort() int { return 0 }

// Username is the only one that may log in.
func (p *Pool) Username() string { return p.cfg.Username }

// Password is that of Username.
func (p *Pool) Password() string { return p.cfg.Password }

// CertificatePEM gives the hosts' certificate, which is its own CA. It names the
// addresses of both.
func (p *Pool) CertificatePEM() string { return "" }

// Fingerprint gives the SHA-256 of the hosts' certificate, upper case
// hexadecimal with colons.
func (p *Pool) Fingerprint() string { return "" }

// GuestEnded tells the pool that the guest of a VM has ended by itself, as
// guests.PowerOff was not called: the VM is Halted then. It is the name that the
// guest was started with.
func (p *Pool) GuestEnded(vm string) {}

// Always is how often an error is injected that does not end.
const Always = -1

// Inject makes calls of a method ("VM.start", also as Async.VM.start; "*" for
// all; "import_raw_vdi") fail with the error, that many times. An Async call
// fails in its task.
func (p *Pool) Inject(method string, times int, code string, params ...string) {}

// ClearFaults takes back all of Inject.
func (p *Pool) ClearFaults() {}

// Delay makes a method take that long before it does anything, in calls and in
// tasks.
func (p *Pool) Delay(method string, d time.Duration) {}

// LandCancelled makes tasks of a method do their work although they were
// cancelled, and say that they are cancelled.
func (p *Pool) LandCancelled(method string) {}

// EndSessions ends all sessions, as a coordinator that is restarted does.
func (p *Pool) EndSessions() {}

// Revoke takes permissions from the user: names of methods, "VM.start".
func (p *Pool) Revoke(methods ...string) {}

// Grant gives back what Revoke took.
func (p *Pool) Grant(methods ...string) {}

// Fill leaves that many bytes free in the SR of that name.
func (p *Pool) Fill(sr string, freeBytes int64) {}

// Call is a call that a client makes.
type Call struct {
	Method string // as the client calls it: "Async.VM.clone"
	Params []any  // without the session
	// Changes reports whether it can change anything.
	Changes bool
}

// Hook has f look at each call before anything is done. If f is false, the call
// is not carried out, and its connection ends without an answer. The last Hook
// counts; nil is none.
func (p *Pool) Hook(f func(Call) bool) {}

// VM is a VM, a template or a domain 0 as the pool has it.
type VM struct {
	Ref, UUID, Name string
	PowerState      string // "Halted", "Running"
	Template        bool
	ControlDomain   bool
	OtherConfig     map[string]string
	XenstoreData    map[string]string
	VDIs            []string // references of its disks, by device
}

// VDI is a disk as the pool has it.
type VDI struct {
	Ref, UUID, Name string
	SR              string // name
	SizeBytes       int64
	File            string // its bytes, raw
	OtherConfig     map[string]string
	VMs             []string // references of the VMs that have it
	Attached        bool     // to a VM that runs
}

// VMs gives all VMs, sorted by name.
func (p *Pool) VMs() []VM { return nil }

// VDIs gives all disks, sorted by name.
func (p *Pool) VDIs() []VDI { return nil }

// Records gives the records of a class ("VIF", "task") by their references, as
// get_all_records does.
func (p *Pool) Records(class string) map[string]map[string]any { return nil }
