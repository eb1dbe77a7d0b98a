// Package proc reads from Linux what a process costs, and binds processes to a
// CPU, for the programs that measure: the load on one CPU, what is measured on
// another.
package proc

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// userHZ is how many ticks of /proc make a second, on every architecture that
// Go runs on.
const userHZ = 100

func ticks(fields []string) (time.Duration, error) {
	var sum int64
	for _, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * (time.Second / userHZ), nil
}

// CPU is the user and system time that all threads of a process have used so
// far, in hundredths of a second. It fails if the process is gone.
func CPU(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name before it may hold blanks
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return ticks(fields[11:13]) // utime and stime, proc(5)
}

// Busy is how long a CPU has worked so far, for whomever; time that the host of
// a virtual machine took counts too.
func Busy(cpu int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 8 && f[0] == fmt.Sprintf("cpu%d", cpu) { // user nice system idle iowait irq softirq steal
			return ticks(append(f[1:4:4], f[6:9]...))
		}
	}
	return 0, fmt.Errorf("/proc/stat has no CPU %d", cpu)
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
