package main

import (
	"context"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed uac.xml
var scenario []byte

// viaSipp is the table of CPU with sipp as both carriers: the same calls made by
// somebody else's program. sipp starts them in bursts, as its clock ticks, and
// tells no time below that.
func viaSipp(ctx context.Context, o options, out *os.File) error {
	if _, err := exec.LookPath("sipp"); !o.sipp || err != nil {
		return nil
	}
	s, err := startServer(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "the same with sipp as both carriers, one round of %v a rate\n%8s  %6s  %8s  %6s  %s\n", o.length, "calls/s", "CPU s",
		"others %", "failed", "retransmissions of the caller")
	if err := sippRows(ctx, s, o, out); err != nil {
		return errors.Join(err, s.stop())
	}
	fmt.Fprintln(out)
	return s.stop()
}

func sippRows(ctx context.Context, s *server, o options, out *os.File) error {
	uas, err := freePort()
	if err != nil {
		return err
	}
	input := "SEQUENTIAL\n"
	for i := range o.pairs {
		input += callerNumber(i) + ";\n"
	}
	for name, text := range map[string]string{"callers.csv": input, "uac.xml": string(scenario)} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	callees := sippCommand(ctx, s.dir, "-sn", "uas", "-i", "127.0.0.1", "-p", strconv.Itoa(int(uas.Port())))
	if err := callees.Start(); err != nil {
		return err
	}
	defer func() { cancel(); _ = callees.Wait() }() // killed: there is nothing to tell
	if err := s.setUp(ctx, uas, o.pairs); err != nil {
		return err
	}
	if err := until(ctx, time.Now().Add(2500*time.Millisecond)); err != nil { // for the trunk
		return err
	}
	for _, rate := range o.rates {
		if _, err := sippRun(ctx, s, o.pin, rate, o.length/warmUp); err != nil {
			return err
		}
		row, err := sippRun(ctx, s, o.pin, rate, o.length)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%8.0f  %6.3f  %8.1f  %6d  %d\n", rate, row.cost, row.others, row.failed, row.resent)
	}
	return nil
}

func sippCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sipp", append(args, "-nostdin", "-mi", "127.0.0.2", "-buff_size", "4194304")...)
	cmd.Dir = dir
	return cmd
}

// sippRun is one measurement: sipp's own counts, the server's CPU time.
func sippRun(ctx context.Context, s *server, pinned bool, rate float64, length time.Duration) (row stage, err error) {
	from, err := freePort()
	if err != nil {
		return row, err
	}
	m, err := startMeter(s.cmd.Process.Pid, pinned)
	if err != nil {
		return row, err
	}
	row.calls = calls(rate, length)
	limited, cancel := context.WithTimeout(ctx, length+time.Minute)
	defer cancel()
	stats := filepath.Join(s.dir, "stats.csv")
	_ = os.Remove(stats) // of the run before
	caller := sippCommand(limited, s.dir, "-sf", "uac.xml", "-inf", "callers.csv", "-s", virtualNumber, "-i", "127.0.0.1",
		"-p", strconv.Itoa(int(from.Port())), "-m", strconv.Itoa(row.calls), "-r", strconv.FormatFloat(rate, 'f', -1, 64),
		"-trace_stat", "-stf", stats, "-fd", "1", s.sip.String())
	if err := caller.Run(); err != nil && caller.ProcessState.ExitCode() != 1 { // 1: a call failed
		return row, fmt.Errorf("sipp: %w", err)
	}
	if _, err := s.settle(ctx); err != nil {
		return row, err
	}
	if err := m.stop(&row); err != nil {
		return row, err
	}
	row.failed, row.resent, err = sippCounts(stats)
	return row, err
}

// sippCounts reads the last line of sipp's statistics.
func sippCounts(path string) (failed, resent int, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	r := csv.NewReader(strings.NewReader(string(b)))
	r.Comma, r.FieldsPerRecord, r.LazyQuotes = ';', -1, true
	lines, err := r.ReadAll()
	if err != nil || len(lines) < 2 {
		return 0, 0, fmt.Errorf("sipp's statistics have %d lines: %w", len(lines), err)
	}
	head, last := lines[0], lines[len(lines)-1]
	for i, name := range head[:min(len(head), len(last))] {
		switch name {
		case "FailedCall(C)":
			failed, err = strconv.Atoi(last[i])
		case "Retransmissions(C)":
			resent, err = strconv.Atoi(last[i])
		}
		if err != nil {
			return 0, 0, fmt.Errorf("sipp's statistics: %w", err)
		}
	}
	return failed, resent, nil
}

// freePort finds an address that is free now.
func freePort() (netip.AddrPort, error) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		return netip.AddrPort{}, err
	}
	return address(c), c.Close()
}
