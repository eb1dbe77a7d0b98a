package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	sockets    = 16 // of the load on each side; call i uses number i%sockets
	slots      = 10 // the calls of one 20 ms are sent in so many portions
	packetSize = 12 + 160
	warmUp     = time.Second
	drain      = 300 * time.Millisecond
)

// result is one measurement.
type result struct {
	cost                  float64 // CPU s for 1000 call-seconds
	sent, received, wrong uint64  // wrong: came from another call's port
	rss                   int     // kB at the end
	// waited is how much of the time the relay's threads were ready and did
	// not run, in percent: other work on its CPU. A relay that waits finds
	// several packets at once and looks cheaper than it is.
	waited float64
}

// clean reports whether nothing to speak of was lost: one packet in 10,000.
func (r result) clean() bool { return r.sent-r.received <= r.sent/10000 }

// measure starts a relay and runs the calls through it.
func measure(argv []string, calls int, d time.Duration, pin bool) (result, error) {
	l, err := newLoad(calls)
	if err != nil {
		return result{}, err
	}
	defer l.close()
	if pin {
		if err := pinSelf(0); err != nil {
			return result{}, err
		}
	}
	child, stop, err := l.start(argv, pin)
	if err != nil {
		return result{}, err
	}
	defer stop()
	l.run(warmUp)
	sent, before := l.sent, l.received.Load()
	from, err := cpuSeconds(child)
	if err != nil {
		return result{}, err
	}
	delay, begin := runDelay(child), time.Now()
	l.run(d)
	took := time.Since(begin)
	to, err := cpuSeconds(child)
	if err != nil {
		return result{}, err
	}
	rss, err := residentKB(child)
	if err != nil {
		return result{}, err
	}
	callSeconds := float64(l.sent-sent) / 100
	return result{
		cost: (to - from) / callSeconds * 1000,
		sent: l.sent - sent, received: l.received.Load() - before,
		wrong: l.wrong.Load(), rss: rss,
		waited: 100 * float64(runDelay(child)-delay) / float64(took),
	}, nil
}

// load is the phones of all calls.
type load struct {
	calls    int
	conns    [2][]*net.UDPConn
	relay    [2][]netip.AddrPort // by call: where its phones send
	packets  [2][][]byte         // by call: the next packet
	sent     uint64              // owned by run
	received atomic.Uint64
	wrong    atomic.Uint64
	readers  sync.WaitGroup
}

func newLoad(calls int) (*load, error) {
	l := &load{calls: calls}
	for side := range l.conns {
		for range sockets {
			c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
			if err != nil {
				l.close()
				return nil, err
			}
			l.conns[side] = append(l.conns[side], c)
			if err := c.SetReadBuffer(4 << 20); err != nil {
				l.close()
				return nil, err
			}
		}
		for i := range calls {
			p := make([]byte, packetSize)
			p[0], p[1] = 0x80, 8
			binary.BigEndian.PutUint32(p[8:], uint32(2*i+side+1))
			binary.BigEndian.PutUint32(p[12:], uint32(i))
			l.packets[side] = append(l.packets[side], p)
		}
	}
	return l, nil
}

func (l *load) close() {
	for side := range l.conns {
		for _, c := range l.conns[side] {
			_ = c.Close()
		}
	}
	l.readers.Wait()
}

func (l *load) ports(side int) string {
	var list []string
	for _, c := range l.conns[side] {
		list = append(list, strconv.Itoa(c.LocalAddr().(*net.UDPAddr).Port))
	}
	return strings.Join(list, ",")
}

// start runs the relay and reads its ports. stop ends it.
func (l *load) start(argv []string, pin bool) (pid int, stop func(), err error) {
	cmd := exec.Command(argv[0], append(argv[1:], strconv.Itoa(l.calls), l.ports(0), l.ports(1))...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, nil, err
	}
	if err := startPinned(cmd, pin); err != nil {
		return 0, nil, err
	}
	stop = func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		var a, b uint16
		if _, err := fmt.Sscan(lines.Text(), &a, &b); err != nil {
			stop()
			return 0, nil, fmt.Errorf("the relay said %q", lines.Text())
		}
		l.relay[0] = append(l.relay[0], netip.AddrPortFrom(loopback, a))
		l.relay[1] = append(l.relay[1], netip.AddrPortFrom(loopback, b))
	}
	if len(l.relay[0]) != l.calls {
		stop()
		return 0, nil, fmt.Errorf("the relay opened %d of %d calls", len(l.relay[0]), l.calls)
	}
	for side := range l.conns {
		for _, c := range l.conns[side] {
			l.readers.Go(func() { l.read(side, c) })
		}
	}
	return cmd.Process.Pid, stop, nil
}

// read counts what arrives at one socket of a side, and what came from another
// port than its call's.
func (l *load) read(side int, c *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		i := int(binary.BigEndian.Uint32(buf[12:]))
		if n != packetSize || i >= l.calls || from != l.relay[side][i] {
			l.wrong.Add(1)
			continue
		}
		l.received.Add(1)
	}
}

// run sends for d, 50 packets a second for each phone, and waits until nothing
// more arrives, so that no packet is counted in the next run.
func (l *load) run(d time.Duration) {
	begin := time.Now()
	step := 20 * time.Millisecond / slots
	for k := 0; time.Duration(k)*step < d; k++ {
		time.Sleep(time.Until(begin.Add(time.Duration(k) * step)))
		for i := k % slots; i < l.calls; i += slots {
			l.send(0, i)
			l.send(1, i)
		}
	}
	for before := l.received.Load(); ; before = l.received.Load() {
		time.Sleep(drain)
		if l.received.Load() == before {
			return
		}
	}
}

func (l *load) send(side, call int) {
	p := l.packets[side][call]
	binary.BigEndian.PutUint16(p[2:], binary.BigEndian.Uint16(p[2:])+1)
	binary.BigEndian.PutUint32(p[4:], binary.BigEndian.Uint32(p[4:])+160)
	if _, err := l.conns[side][call%sockets].WriteToUDPAddrPort(p, l.relay[side][call]); err == nil {
		l.sent++
	}
}

// pinSelf binds every thread of this process to a CPU; later ones inherit it.
func pinSelf(cpu int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			if err := pinThread(tid, cpu); err != nil {
				return err
			}
		}
	}
	return nil
}

func pinThread(tid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(tid, &set)
}

// startPinned starts cmd on CPU 1: a child inherits the CPU of the thread that
// starts it.
func startPinned(cmd *exec.Cmd, pin bool) error {
	if !pin {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := pinThread(0, 1); err != nil {
		return err
	}
	defer func() { _ = pinThread(0, 0) }()
	return cmd.Start()
}

// cpuSeconds is user and system time of a process, all its threads (proc(5)).
func cpuSeconds(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name before may hold blanks
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat of %d has %d fields", pid, len(fields))
	}
	user, err := strconv.ParseUint(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseUint(fields[12], 10, 64)
	if err != nil {
		return 0, err
	}
	return float64(user+system) / 100, nil // USER_HZ
}

// runDelay is how long the threads of a process have waited for a CPU (the
// second field of schedstat); 0 where the kernel does not tell.
func runDelay(pid int) (sum time.Duration) {
	dir := fmt.Sprintf("/proc/%d/task/", pid)
	tasks, _ := os.ReadDir(dir)
	for _, t := range tasks {
		b, _ := os.ReadFile(dir + t.Name() + "/schedstat")
		if fields := strings.Fields(string(b)); len(fields) > 1 {
			ns, _ := strconv.ParseInt(fields[1], 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

func residentKB(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b), "VmRSS:")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, fmt.Errorf("no VmRSS of %d", pid)
	}
	return strconv.Atoi(fields[0])
}
