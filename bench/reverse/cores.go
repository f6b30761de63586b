package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// onOneCore gives the servers all cores but the first, and that to this process
// and the tools that it will start: a server is another machine as a rule, whose
// work should not be the client's loss.
func onOneCore(servers ...int) error {
	var first, rest, all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	if all.Count() < 2 {
		return fmt.Errorf("to tell client from server, at least two cores are needed")
	}
	for cpu := 0; first.Count()+rest.Count() < all.Count(); cpu++ {
		switch {
		case !all.IsSet(cpu):
		case first.Count() == 0:
			first.Set(cpu)
		default:
			rest.Set(cpu)
		}
	}
	for _, pid := range servers {
		if err := unix.SchedSetaffinity(pid, &rest); err != nil {
			return err
		}
	}
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &first); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}
