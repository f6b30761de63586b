package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"imageport/lab/guest"
	"imageport/platforms/local"
	"imageport/platforms/platformtest"
)

// The test binary is also the agent, and the lab that is killed.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "agent": // never the tests again
		os.Exit(agentMain(os.Args[len(os.Args)-1]))
	case len(os.Args) == 3 && os.Args[1] == "lab":
		os.Exit(labMain(os.Args[2]))
	case len(os.Args) == 3 && os.Args[1] == "guest":
		os.Exit(guestMain(os.Args[2]))
	}
	os.Exit(m.Run())
}

// agentMain claims its seed, and answers every disk that it finds as the trial
// in a machine does. A disk that begins with "good night" ends it.
func agentMain(seedFile string) int {
	release, err := local.Claim(seedFile)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer release()
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("up, with the child", child.Process.Pid)
	for known := []string{}; ; time.Sleep(5 * time.Millisecond) {
		links, err := filepath.Glob(filepath.Join(filepath.Dir(seedFile), "disks", "*"))
		if err != nil {
			return 1
		}
		for _, link := range links {
			f, err := os.OpenFile(link, os.O_RDWR, 0)
			if err != nil || slices.Contains(known, link) {
				continue
			}
			begin := make([]byte, 10)
			if _, err := f.ReadAt(begin, 0); err != nil {
				return 1
			}
			if string(begin) == "good night" {
				fmt.Println("good night")
				return 3
			}
			if _, err := f.WriteAt([]byte("a process"), 1<<20); err != nil {
				return 1
			}
			f.Close()
			fmt.Println("disk", filepath.Base(link))
			known = append(known, link)
		}
	}
}

// newVM is a VM with a seed.
func newVM(name string, disks ...guest.Disk) guest.VM {
	raw, err := platformtest.Seed("0123456789ab", time.Now().Add(time.Hour)).Encode()
	if err != nil {
		panic(err)
	}
	return guest.VM{
		Name: name, UUID: "564d8c62-0000-4000-8000-0123456789ab", Firmware: guest.UEFI, CPUs: 2, MemoryMB: 512,
		Seed: raw, Disks: disks,
	}
}

func newProcesses(t *testing.T, dir string, ended func(string)) *Processes {
	t.Helper()
	p, err := NewProcesses(ProcessesConfig{Dir: dir, Program: os.Args[0], Args: []string{"agent", "--seed"}, Ended: ended})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p
}

// child is the agent's child process, as its log says.
func (p *Processes) child(t *testing.T, vm string) int {
	t.Helper()
	said(t, p.host, vm, `up, with the child \d+\n`)
	log, err := os.ReadFile(p.logFile(vm))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(log), "\n")
	for _, line := range slices.Backward(lines) {
		if n, ok := strings.CutPrefix(line, "up, with the child "); ok {
			pid, err := strconv.Atoi(n)
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	return 0
}

// over waits for the end of a process that is not ours to wait for.
func over(t *testing.T, pid int) {
	t.Helper()
	await(t, "gone", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	}, func() string { return strconv.Itoa(pid) })
}

func TestProcess(t *testing.T) {
	t.Parallel()
	p := newProcesses(t, t.TempDir(), func(vm string) { t.Errorf("%s has ended by itself", vm) })
	first, second, third := disk(t, "serial:6000c290a1a1a1a1a1a1a1a1a1a1a1a1", ""), disk(t, "xen:51728", ""), disk(t, "lun:2", "")
	vm := newVM("ce-0123456789ab", disk(t, "", "good night"), first)
	for range 2 { // a VM may be switched on again
		if err := p.PowerOn(vm); err != nil {
			t.Fatal(err)
		}
		if err := p.PowerOn(vm); err == nil {
			t.Error("a VM has two guests")
		}
		seed := filepath.Join(p.dir, vm.Name, "seed.json")
		if b, err := os.ReadFile(seed); err != nil || !bytes.Equal(b, vm.Seed) {
			t.Errorf("the seed is %d bytes, %v", len(b), err)
		}
		if st, err := os.Stat(seed); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("the seed: %v, %v", st.Mode(), err)
		}
		child := p.child(t, vm.Name)
		said(t, p.host, vm.Name, "disk "+first.Selector)
		for _, d := range []guest.Disk{second, third} {
			if err := p.Attach(vm.Name, d); err != nil {
				t.Fatal(err)
			}
			said(t, p.host, vm.Name, "disk "+d.Selector)
			if err := p.Attach(vm.Name, d); err == nil {
				t.Error("a disk is attached twice")
			}
		}
		for _, d := range []guest.Disk{first, second, third} {
			if got := at(t, d, 1<<20, 32); got != "a process" {
				t.Errorf("disk %s has %q", d.Selector, got)
			}
			if err := p.Detach(vm.Name, d); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(filepath.Join(p.dir, vm.Name, "disks", d.Selector)); err == nil {
				t.Error("the link is left")
			}
		}
		p.PowerOff(vm.Name)
		p.PowerOff(vm.Name)
		over(t, child)
		if _, err := os.Stat(filepath.Join(p.dir, vm.Name)); err == nil {
			t.Error("the guest's files are left")
		}
		if err := os.Remove(p.logFile(vm.Name)); err != nil {
			t.Error(err)
		}
	}
}

func TestProcessEnds(t *testing.T) {
	t.Parallel()
	ended := make(chan string, 2)
	p := newProcesses(t, t.TempDir(), func(vm string) { ended <- vm })
	vm := newVM("ce-0123456789ab", disk(t, "lun:0", "good night"))
	if err := p.PowerOn(vm); err != nil {
		t.Fatal(err)
	}
	if name := <-ended; name != vm.Name {
		t.Errorf("%q has ended", name)
	}
	over(t, p.child(t, vm.Name))
	if _, err := os.Stat(filepath.Join(p.dir, vm.Name)); err == nil {
		t.Error("the guest's files are left")
	}
	p.PowerOff(vm.Name)
	if len(ended) != 0 {
		t.Error("it has ended twice")
	}
}

// VMs without a seed are none of ours, and what cannot run is refused.
func TestNoGuest(t *testing.T) {
	t.Parallel()
	p := newProcesses(t, t.TempDir(), nil)
	plain := guest.VM{Name: "win10", Disks: []guest.Disk{{}}}
	if err := p.PowerOn(plain); err != nil {
		t.Error(err)
	}
	if err := p.Attach(plain.Name, guest.Disk{}); err != nil {
		t.Error(err)
	}
	if err := p.Detach(plain.Name, guest.Disk{}); err != nil {
		t.Error(err)
	}
	p.PowerOff(plain.Name)
	good := disk(t, "serial:out-1", "")
	for what, vm := range map[string]guest.VM{
		"no guest can run":       newVM(".."),
		"VM of that name":        newVM("logs"),
		`"a/b": no guest`:        newVM("a/b"),
		`"serial:../../x"`:       newVM("ce-0123456789ab", guest.Disk{Selector: "serial:../../x", File: good.File, SizeBytes: good.SizeBytes}),
		`"serial:.."`:            newVM("ce-0123456789ab", guest.Disk{Selector: "serial:..", File: good.File, SizeBytes: good.SizeBytes}),
		`"lun:007"`:              newVM("ce-0123456789ab", guest.Disk{Selector: "lun:007", File: good.File, SizeBytes: good.SizeBytes}),
		`selector "lun"`:         newVM("ce-0123456789ab", guest.Disk{Selector: "lun", File: good.File, SizeBytes: good.SizeBytes}),
		"has no file":            newVM("ce-0123456789ab", guest.Disk{Selector: good.Selector, File: good.File + "x", SizeBytes: good.SizeBytes}),
		"2097152 bytes, want 17": newVM("ce-0123456789ab", guest.Disk{Selector: good.Selector, File: good.File, SizeBytes: 17}),
	} {
		err := p.PowerOn(vm)
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	left, err := os.ReadDir(p.dir)
	if err != nil || len(left) != 1 || left[0].Name() != logs {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := NewProcesses(ProcessesConfig{Dir: t.TempDir(), Program: "no-such-program"}); err == nil {
		t.Error("a program that is not there is taken")
	}
}

// labMain runs a guest until it is killed.
func labMain(dir string) int {
	p, err := NewProcesses(ProcessesConfig{Dir: dir, Program: os.Args[0], Args: []string{"agent", "--seed"}})
	if err == nil {
		err = p.PowerOn(newVM("ce-0123456789ab"))
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	select {}
}

// No guest outlives a lab that is killed.
func TestLabKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := exec.Command(os.Args[0], "lab", dir)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Processes{host: &host{dir: dir}}
	said(t, p.host, "ce-0123456789ab", "up, with the child")
	entries, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", c.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var agents []int
	for _, e := range entries {
		b, err := os.ReadFile(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			agents = append(agents, pid)
		}
	}
	if len(agents) != 1 {
		t.Fatalf("agents: %v", agents)
	}
	if err := c.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	over(t, agents[0])
	// What the agent leaves is its own business: here we tidy up.
	_ = syscall.Kill(p.child(t, "ce-0123456789ab"), syscall.SIGKILL)
}
