package relay

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batch       = 128                   // events that are taken from the system at once
	reportSlack = 10 * time.Millisecond // reports due within it leave together

	// Places of a shard's own descriptors in the epoll data; sessions' are from 0.
	wakePlace  = -1
	alarmPlace = -2
)

// A shard moves the packets of its sessions. Its goroutine alone reads their
// sockets and knows their places; others give it work through do.
//
// It takes one packet of a socket and then looks at the next: level-triggered,
// so what is left is told of again, after the packets of everybody else. A
// flood on one call can so delay another by no more than one packet a socket,
// and no system call is spent on finding a socket empty.
type shard struct {
	engine            *Engine
	begun             time.Time
	epoll, wake, bell int      // epoll, eventfd for the inbox, timerfd for reports
	poller            *os.File // epoll, as what the runtime can wait for
	readable          syscall.RawConn
	done              chan struct{} // closed when run has returned
	sessions          int           // guarded by the driver's mu

	mu    sync.Mutex
	inbox []job

	// Owned by run.
	places []place
	unused []int32
	due    reportHeap
	rings  time.Duration // when bell is set to ring; 0 = it is not
	buf    [maxPacket + 1]byte
	from   rawAddr
	events [batch]unix.EpollEvent
}

// A job is done between two batches, so no event of its batch is left that
// could be for a socket that it takes away.
type job struct {
	run  func() error
	done chan error // with room for the answer
}

// A place is one socket in the epoll set. Its generation is told with every
// event, so that one that was for an earlier socket here is known as such.
type place struct {
	generation int32
	faults     int32
	s          *Session // nil: no socket
	in         rawSocket
	side       Side
	rtcp       bool
}

// newShard opens what a shard needs and runs it.
func newShard(e *Engine) (*shard, error) {
	sh := &shard{engine: e, begun: time.Now(), epoll: -1, wake: -1, bell: -1, done: make(chan struct{})}
	err := sh.open()
	if err != nil {
		sh.free()
		return nil, err
	}
	go sh.run()
	return sh, nil
}

func (sh *shard) open() (err error) {
	if sh.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if sh.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if sh.bell, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	if err := sh.watch(sh.wake, wakePlace, 0); err != nil {
		return err
	}
	if err := sh.watch(sh.bell, alarmPlace, 0); err != nil {
		return err
	}
	return sh.lend()
}

// lend lets the runtime's poller wait for the epoll descriptor, so that a shard
// without packets is a parked goroutine. A blocking epoll_wait would keep the
// scheduler's processor until the monitor thread takes it away, which at some
// thousand waits a second costs more than our own code for the packets (ADR 0012).
func (sh *shard) lend() (err error) {
	if err := unix.SetNonblock(sh.epoll, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	sh.poller = os.NewFile(uintptr(sh.epoll), "epoll")
	if err := sh.poller.SetReadDeadline(time.Time{}); err != nil { // it says whether the runtime took it
		return err
	}
	sh.readable, err = sh.poller.SyscallConn()
	return err
}

func (sh *shard) watch(fd int, at, generation int32) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: at, Pad: generation}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(sh.epoll, unix.EPOLL_CTL_ADD, fd, &ev))
}

// free closes the shard's own descriptors; run must have returned.
func (sh *shard) free() {
	if sh.poller != nil {
		_ = sh.poller.Close()
		sh.epoll = -1
	}
	for _, fd := range []int{sh.epoll, sh.wake, sh.bell} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// do runs work in the shard's goroutine and gives its error. It waits for one
// batch of packets at most, and for the work that others gave before.
func (sh *shard) do(work func() error) error {
	j := job{run: work, done: make(chan error, 1)}
	sh.mu.Lock()
	sh.inbox = append(sh.inbox, j)
	first := len(sh.inbox) == 1
	sh.mu.Unlock()
	if first { // else the wake-up of the first is still to be read
		one := binary.NativeEndian.AppendUint64(nil, 1)
		_, _ = unix.Write(sh.wake, one) // fails only when the counter is full, which wakes as well
	}
	return <-j.done // run answers until errStop, the last job ever given
}

// run is the loop of the shard.
func (sh *shard) run() {
	defer close(sh.done)
	n := 0
	ready := func(uintptr) bool { n = sh.poll(); return n > 0 }
	for {
		if err := sh.readable.Read(ready); err != nil {
			// Not known to happen while the descriptor is open. Media goes on, dearer.
			n, _ = unix.EpollWait(sh.epoll, sh.events[:], -1)
		}
		now := sh.engine.Elapsed()
		jobs := false
		for i := range sh.events[:max(0, n)] {
			switch ev := &sh.events[i]; ev.Fd {
			case wakePlace:
				jobs = true
			case alarmPlace:
				sh.report()
			default:
				sh.serve(ev.Fd, ev.Pad, now)
			}
		}
		if jobs && sh.work() {
			return
		}
	}
}

// poll takes the events that there are, and gives their number. It does not
// wait, so the scheduler need not be told of the call.
func (sh *shard) poll() int {
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(sh.epoll), uintptr(unsafe.Pointer(&sh.events)), batch, 0, 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

// work does the jobs of the inbox and reports whether one was to stop.
func (sh *shard) work() (stop bool) {
	var count [8]byte
	_, _ = unix.Read(sh.wake, count[:])
	sh.mu.Lock()
	jobs := sh.inbox
	sh.inbox = nil
	sh.mu.Unlock()
	for _, j := range jobs {
		err := j.run()
		stop = stop || errors.Is(err, errStop)
		j.done <- err
	}
	return stop
}

// add takes in the sockets of a side and gives their places. On an error none
// is left behind.
func (sh *shard) add(s *Session, side Side, sockets *pair) (at [2]int32, err error) {
	for i, in := range []socket{sockets.rtp, sockets.rtcp} {
		p := place{s: s, side: side, rtcp: i == 1, in: in.(rawSocket)}
		at[i] = sh.take(p)
		if err := sh.watch(int(p.in), at[i], sh.places[at[i]].generation); err != nil {
			sh.release(at[i])
			if p.rtcp {
				sh.unwatch(at[0])
				sh.release(at[0])
			}
			return at, err
		}
	}
	sh.schedule(at[1], s.engine.reports/2)
	sh.setBell()
	return at, nil
}

// take gives p an unused place and the generation after the one before.
func (sh *shard) take(p place) int32 {
	if n := len(sh.unused); n > 0 {
		at := sh.unused[n-1]
		sh.unused = sh.unused[:n-1]
		p.generation = sh.places[at].generation + 1
		sh.places[at] = p
		return at
	}
	sh.places = append(sh.places, p)
	return int32(len(sh.places) - 1)
}

func (sh *shard) release(at int32) {
	sh.places[at] = place{generation: sh.places[at].generation}
	sh.unused = append(sh.unused, at)
}

func (sh *shard) unwatch(at int32) {
	// It fails only for a socket that was given up, and is not watched any more.
	_ = unix.EpollCtl(sh.epoll, unix.EPOLL_CTL_DEL, int(sh.places[at].in), nil)
}

// remove forgets the sockets of a side, which are still open.
func (sh *shard) remove(at [2]int32) {
	for _, i := range at {
		sh.unwatch(i)
		sh.release(i)
	}
}

// serve takes one packet of the socket at a place, if it is still the one that
// the event is for.
func (sh *shard) serve(at, generation int32, now time.Duration) {
	p := &sh.places[at]
	if p.s == nil || p.generation != generation {
		return
	}
	n, e := p.in.receive(sh.buf[:], &sh.from)
	if e != 0 {
		sh.fault(at, e)
		return
	}
	p.faults = 0
	if p.rtcp {
		p.s.heard(p.side, sh.buf[:n], sh.from.addrPort())
		return
	}
	p.s.pass(p.side, sh.buf[:n], sh.from.addrPort(), now)
}

// fault counts a read that failed and gives the socket up when it goes on.
func (sh *shard) fault(at int32, e unix.Errno) {
	if e == unix.EAGAIN || e == unix.EINTR { // a checksum was wrong; a signal
		return
	}
	p := &sh.places[at]
	if p.faults++; p.faults >= maxFaults {
		sh.unwatch(at)
		p.s.socketFailed(p.side, e)
	}
}

// A dueReport is when the report of an RTCP socket leaves.
type dueReport struct {
	at         time.Duration // since the shard began
	place      int32
	generation int32
}

// reportHeap is the reports of a shard, soonest first. One whose session is
// gone stays until it is due.
type reportHeap []dueReport

func (h reportHeap) Len() int           { return len(h) }
func (h reportHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h reportHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *reportHeap) Push(x any)        { *h = append(*h, x.(dueReport)) }
func (h *reportHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// schedule makes the report of a place due in about mean. It runs by the
// system's clock, whatever clock the engine was given.
func (sh *shard) schedule(at int32, mean time.Duration) {
	heap.Push(&sh.due, dueReport{time.Since(sh.begun) + reportDelay(mean), at, sh.places[at].generation})
}

// report sends what is due.
func (sh *shard) report() {
	var count [8]byte
	_, _ = unix.Read(sh.bell, count[:])
	sh.rings = 0
	for now := time.Since(sh.begun); len(sh.due) > 0 && sh.due[0].at <= now; {
		r := heap.Pop(&sh.due).(dueReport)
		if p := &sh.places[r.place]; p.s != nil && p.generation == r.generation {
			p.s.sendReport(p.side, false)
			sh.schedule(r.place, sh.engine.reports)
		}
	}
	sh.setBell()
}

// setBell sets the timer to the next report, unless it is set to ring before.
func (sh *shard) setBell() {
	if len(sh.due) == 0 || sh.rings != 0 && sh.rings <= sh.due[0].at {
		return
	}
	now := time.Since(sh.begun)
	sh.rings = max(sh.due[0].at, now+reportSlack)
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(sh.rings - now))}
	_ = unix.TimerfdSettime(sh.bell, 0, &spec, nil) // it can refuse only a time that is none
}
