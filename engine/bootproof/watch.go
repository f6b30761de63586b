package bootproof

import (
	"context"
	"fmt"
	"hash/maphash"
	"path/filepath"
	"runtime"
	"time"

	"imageport/job"
)

const (
	// lookInterval is how often the screen and the disk are looked at.
	lookInterval = time.Second
	// kvmPatience is for firmware's first words under KVM, where they come
	// within a second or two.
	kvmPatience = 20 * time.Second
	// errorWords is how much of the console's end an error quotes, in bytes.
	errorWords = 500
)

// observer watches one machine.
type observer struct {
	machine *machine
	console *console
	reads   *reads
	since   func() time.Duration
	story   story
	seed    maphash.Seed

	now    sight
	screen []byte // the last one, as PPM
}

// watch boots a machine and watches it to the end.
func watch(ctx context.Context, opt Options, found tools, accel accelerator, hw hardware, reads *reads) (job.BootProof, error) {
	// The kernel takes the end of the thread that started QEMU for the end of
	// the process, and kills QEMU.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := time.Now()
	since := func() time.Duration { return time.Since(begin) }
	console := newConsole(since, opt.Marker, reads)
	m, err := start(ctx, opt.Dir, found.qemu, arguments(found.firmware, accel, hw), console)
	if err != nil {
		return job.BootProof{}, err
	}
	defer m.stop()
	o := &observer{machine: m, console: console, reads: reads, since: since, story: story{opt: opt}, seed: maphash.MakeSeed()}
	o.now.firmware = fmt.Sprintf("%s under %s", filepath.Base(found.firmware.code), accel)
	end, err := o.follow(ctx, accel)
	if err == nil && end.refused {
		err = job.Errorf(job.BootFailed, refusedRemedy, "boot proof: %s. The console ends with %q", end.why, console.end(errorWords))
	}
	proof := o.now.proof(end)
	proof.Console = console.end(consoleKept)
	if o.screen != nil {
		picture, unreadable := parsePPM(o.screen)
		if unreadable == nil {
			proof.Screenshot, unreadable = screenshot(picture, maxScreenshot)
		}
		if unreadable != nil && err == nil {
			err = job.Errorf(job.ToolFailed, toolRemedy, "boot proof: %w", unreadable)
		}
	}
	return proof, err
}

const (
	refusedRemedy = `Check \EFI\Boot\bootx64.efi on the image's EFI system partition: do not put the image into use before it boots`
	toolRemedy    = "Start the job again; if that does not help, update QEMU on the worker's machine, or ask for no boot proof"
)

// follow watches until the end, whose reason it gives.
func (o *observer) follow(ctx context.Context, accel accelerator) (ending, error) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	timeout := time.NewTimer(o.story.opt.Timeout)
	defer timeout.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
		case <-o.machine.exited:
		case <-o.console.news:
		case o.now.off = <-o.machine.monitor.stopped:
			err = o.look(accel)
		case <-timeout.C:
			err = o.look(accel)
		case <-tick.C:
			err = o.look(accel)
		}
		o.now.at, o.now.heard, o.now.read = o.since(), o.console.heard(), o.reads.tally()
		if ctx.Err() != nil {
			return ending{}, context.Cause(ctx)
		}
		select {
		case <-o.machine.exited:
			if accel == kvm && o.now.heard.bytes == 0 {
				return ending{}, errAccelerator
			}
			return ending{}, o.machine.died()
		default:
		}
		if err != nil {
			return ending{}, err
		}
		end, over := o.story.see(o.now)
		if !over {
			continue
		}
		if end.refused && accel == kvm && o.now.heard.bytes == 0 {
			return ending{}, errAccelerator
		}
		// The picture of the end: a machine that cannot show it any more has
		// shown the one before.
		if picture, err := o.machine.screen.dump(o.machine.monitor); err == nil {
			o.screen = picture
		}
		return end, nil
	}
}

// look asks QEMU for what it does not tell by itself. A QEMU that is ending
// does not answer, which is for the caller to see.
func (o *observer) look(accel accelerator) error {
	m := o.machine
	if accel == kvm && o.console.heard().bytes == 0 {
		stuck, err := m.monitor.internalError()
		if stuck || err != nil || o.since() > kvmPatience {
			return errAccelerator
		}
	}
	picture, err := m.screen.dump(m.monitor)
	if err == nil {
		o.screen, o.now.screen = picture, maphash.Bytes(o.seed, picture)
		o.now.written, err = m.monitor.written()
	}
	if err == nil {
		return nil
	}
	// Its end, if that is why, is told a moment later.
	select {
	case <-m.exited:
		return nil
	case <-time.After(time.Second):
		return job.Errorf(job.ToolFailed, toolRemedy, "boot proof: %w: %s", err, m.complaints)
	}
}
