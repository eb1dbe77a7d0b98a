package main

import (
	"time"

	"tandem/test/load/proc"
)

// meter reads what a process costs from its start to its stop.
type meter struct {
	pid    int
	pinned bool
	begin  time.Time
	cpu    time.Duration // of the process
	busy   time.Duration // of its CPU
}

func startMeter(pid int, pinned bool) (m meter, err error) {
	m = meter{pid: pid, pinned: pinned, begin: time.Now()}
	m.cpu, m.busy, err = m.read()
	return m, err
}

func (m meter) read() (cpu, busy time.Duration, err error) {
	if cpu, err = proc.CPU(m.pid); err == nil && m.pinned {
		busy, err = proc.Busy(serverCPU)
	}
	return cpu, busy, err
}

// stop sets cost and others of a stage whose calls are counted.
func (m meter) stop(s *stage) error {
	cpu, busy, err := m.read()
	if err != nil {
		return err
	}
	cpu, busy = cpu-m.cpu, busy-m.busy
	s.cost = cpu.Seconds() / float64(s.calls) * 1000
	if m.pinned {
		s.others = max(0, 100*float64(busy-cpu)/float64(time.Since(m.begin)))
	}
	return nil
}
