// Package proc reads from Linux what a process costs, and binds processes to a
// CPU, for the programs that measure: the load on one CPU, what is measured on
// another.
package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Cost is what a process has used so far.
type Cost struct {
	CPU time.Duration // user and system time of all its threads, in hundredths of a second
	// Waited is how long its threads were ready to run and did not: other work
	// had their CPU. 0 where the kernel does not tell.
	Waited time.Duration
}

// Read gives the cost of a process. It fails if the process is gone.
func Read(pid int) (Cost, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Cost{}, err
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name before it may hold blanks
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return Cost{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime, proc(5)
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return Cost{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	const userHZ = 100 // the same on every architecture Go runs on
	return Cost{CPU: time.Duration(ticks) * (time.Second / userHZ), Waited: waited(pid)}, nil
}

// Since is what was used between an earlier reading and this one.
func (c Cost) Since(earlier Cost) Cost { return Cost{c.CPU - earlier.CPU, c.Waited - earlier.Waited} }

// waited adds up the second field of schedstat over the threads.
func waited(pid int) (sum time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, file := range files {
		b, _ := os.ReadFile(file) // a thread may just have ended
		if fields := strings.Fields(string(b)); len(fields) > 1 {
			ns, _ := strconv.ParseInt(fields[1], 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

// Resident is a process's memory in RAM (VmRSS), in bytes.
func Resident(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("/proc/%d/status tells no VmRSS", pid)
	}
	kB, err := strconv.ParseInt(fields[0], 10, 64)
	return kB << 10, err
}

// PinSelf binds every thread of this process to a CPU; later ones, and
// processes that it starts, inherit that. Go then runs one thread at a time.
func PinSelf(cpu int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := pin(tid, cpu); err != nil {
			return fmt.Errorf("bind to CPU %d: %w", cpu, err)
		}
	}
	runtime.GOMAXPROCS(1)
	return nil
}

// StartOn starts a command on a CPU: a child inherits that of the thread that
// starts it. The thread goes back to where it was.
func StartOn(cmd *exec.Cmd, cpu int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	if err := pin(0, cpu); err != nil {
		return fmt.Errorf("bind to CPU %d: %w", cpu, err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &before) }() // it was allowed before
	return cmd.Start()
}

func pin(tid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(tid, &set)
}
