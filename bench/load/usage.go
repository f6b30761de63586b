package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"imageport/bench/internal/rig"
)

// watchEvery is how often the processes are looked at: seldom, because it takes
// what they are short of.
const watchEvery = 2 * time.Second

// usage is what the processes of a site took: memory at most, in bytes, and the
// time of processors.
type usage struct {
	worker  int64 // resident, at its peak
	engines int64 // of all Compositing Engines together, without what they share
	number  int   // Compositing Engines at once

	workerCPU, enginesCPU time.Duration
}

// watcher looks at the processes of a site until it is stopped.
type watcher struct {
	done chan struct{}
	seen chan usage
}

// watch begins with the worker of the site.
func watch(b *bench) (*watcher, error) {
	worker, err := rig.Processes(func(line, env string) bool {
		return line == b.Program+"\x00worker\x00" && strings.Contains(env, "="+b.Config()+"\x00")
	})
	if err != nil {
		return nil, err
	}
	if len(worker) != 1 {
		return nil, fmt.Errorf("%d workers of the site run, where one is expected", len(worker))
	}
	w := &watcher{done: make(chan struct{}), seen: make(chan usage)}
	go func() {
		var m usage
		ownBefore, childrenBefore := processorTime(worker[0])
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for stopped := false; !stopped; {
			select {
			case <-tick.C:
			case <-w.done:
				stopped = true
			}
			m.worker = max(m.worker, statusBytes(worker[0], "VmHWM"))
			agents, _ := b.Engines() // it has worked before
			var engines int64
			for _, pid := range agents {
				engines += statusBytes(pid, "RssAnon")
			}
			m.engines, m.number = max(m.engines, engines), max(m.number, len(agents))
		}
		own, children := processorTime(worker[0])
		m.workerCPU, m.enginesCPU = own-ownBefore, children-childrenBefore
		w.seen <- m
	}()
	return w, nil
}

func (w *watcher) stop() usage {
	close(w.done)
	return <-w.seen
}

// statusBytes reads a size from proc_pid_status(5), 0 where the process is gone.
func statusBytes(pid int, key string) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			var kib int64
			if _, err := fmt.Sscanf(rest, "%d kB", &kib); err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

// ticksPerSecond is USER_HZ, in which the kernel tells times of processors.
const ticksPerSecond = 100

// processorTime is what a process used, and its children that have ended: see
// proc_pid_stat(5), fields 14 to 17. It is zero where the process is gone.
func processorTime(pid int) (own, children time.Duration) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks [4]time.Duration
	for i := range ticks {
		if len(fields) < 15 {
			return 0, 0
		}
		n, err := strconv.ParseInt(fields[11+i], 10, 64)
		if err != nil {
			return 0, 0
		}
		ticks[i] = time.Duration(n) * time.Second / ticksPerSecond
	}
	return ticks[0] + ticks[1], ticks[2] + ticks[3]
}
