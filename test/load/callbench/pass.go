package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"tandem/test/load/proc"
)

// passing is the argument that makes this program the one that only passes on.
const passing = "pass"

// pass hands datagrams from anybody to the callee, and from the callee to who
// came last, until ctx is done. It says first where it listens.
func pass(ctx context.Context, callee string, out io.Writer) error {
	to, err := netip.ParseAddrPort(callee)
	if err != nil {
		return err
	}
	conn, err := listen()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	fmt.Fprintln(out, address(conn))
	return passOn(conn, to)
}

// passOn ends without an error when conn is closed.
func passOn(conn *net.UDPConn, callee netip.AddrPort) error {
	var caller netip.AddrPort
	buf := make([]byte, 65536)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return nil // closed: the process is to end
		}
		to := caller
		if from != callee {
			caller, to = from, callee
		}
		_, _ = conn.WriteToUDPAddrPort(buf[:n], to)
	}
}

// alone is a load that calls itself, with nothing between.
func alone(ctx context.Context, o options, rate float64) (s stage, err error) {
	l, err := newLoad(o.pairs)
	if err != nil {
		return s, err
	}
	defer l.close()
	l.through(address(l.callee), calleeNumber)
	if s.tally, err = l.run(ctx, rate, calls(rate, o.length/warmUp)); err != nil {
		return s, err
	}
	slices.Sort(s.added)
	s.p50, s.p99 = percentiles(s.added)
	return s, nil
}

// passedOn measures the same calls through a process that only passes on.
func passedOn(ctx context.Context, o options, rate float64) (s stage, err error) {
	l, err := newLoad(o.pairs)
	if err != nil {
		return s, err
	}
	defer l.close()
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	cmd := exec.CommandContext(ctx, self, passing, address(l.callee).String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	start := cmd.Start
	if o.pin {
		start = func() error { return proc.StartOn(cmd, serverCPU) }
	}
	if err := start(); err != nil {
		return s, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it has nothing to tell
	}()
	line, _ := bufio.NewReader(out).ReadString('\n')
	var text string
	_, _ = fmt.Sscan(line, &text)
	via, err := netip.ParseAddrPort(text)
	if err != nil {
		return s, fmt.Errorf("the process that passes on said %q", line)
	}
	l.through(via, calleeNumber)
	m, err := startMeter(cmd.Process.Pid, o.pin)
	if err != nil {
		return s, err
	}
	s.calls = calls(rate, o.length/warmUp)
	if s.tally, err = l.run(ctx, rate, s.calls); err != nil {
		return s, err
	}
	return s, m.stop(&s)
}
