package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	resendAfter = 500 * time.Millisecond // T1 (RFC 3261 §17.1.1.1), here for every message
	giveUp      = 8 * time.Second        // a call that has not gone on for so long has failed
	watchEvery  = 100 * time.Millisecond
)

// load is both carriers: it places calls from one socket and answers them on
// another, without media. It knows only as much SIP as such a call needs, so
// that it costs little beside the server.
type load struct {
	via            netip.AddrPort // where INVITEs go: the server, or the callees themselves
	dial           func(slot int) string
	caller, callee *net.UDPConn
	closed         chan struct{}
	workers        sync.WaitGroup

	mu    sync.Mutex
	next  int
	calls map[int]*call
	slots []*call // by pair of parties: its call, or nil
	hold  bool    // answered calls stay up
	tally
}

// tally counts since the last start of a run.
type tally struct {
	placed, connected, completed, failed int
	resent                               int // by the load: no answer came in time
	repeated                             int // by the server: it got no answer in time, or thought so
	added                                []time.Duration
}

// clean says that no call failed and nothing had to be sent again.
func (t tally) clean() bool { return t.failed == 0 && t.resent == 0 && t.repeated == 0 }

// call is one call in both roles.
type call struct {
	n, slot                          int
	invited, offered, rang           time.Time
	accepted, acked, ending          bool
	callerDone, calleeDone           bool
	ok                               message // the 200, for a BYE later
	fromCaller, fromCallee           []byte  // what waits for an answer
	callerSent, calleeSent, lastNews time.Time
}

// newLoad opens the sockets for so many pairs of parties.
func newLoad(slots int) (*load, error) {
	l := &load{closed: make(chan struct{}), calls: map[int]*call{}, slots: make([]*call, slots)}
	var err error
	if l.caller, err = listen(); err != nil {
		return nil, err
	}
	if l.callee, err = listen(); err != nil {
		_ = l.caller.Close()
		return nil, err
	}
	l.workers.Go(func() { l.receive(l.caller, l.onCaller) })
	l.workers.Go(func() { l.receive(l.callee, l.onCallee) })
	l.workers.Go(l.watch)
	return l, nil
}

func listen() (*net.UDPConn, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	if err := c.SetReadBuffer(4 << 20); err != nil {
		return nil, err
	}
	return c, nil
}

func (l *load) close() {
	close(l.closed)
	_ = l.caller.Close()
	_ = l.callee.Close()
	l.workers.Wait()
}

// direct lets the load call itself: what its own work adds to every time.
func (l *load) direct() { l.through(address(l.callee), calleeNumber) }

// through lets the load call over a server, that knows whom to call by the caller.
func (l *load) through(server netip.AddrPort, dial func(slot int) string) { l.via, l.dial = server, dial }

func address(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// run places count calls, evenly at rate a second, and waits until all are over,
// or up, if they are to be held.
func (l *load) run(ctx context.Context, rate float64, count int) (tally, error) {
	l.mu.Lock()
	l.tally = tally{added: make([]time.Duration, 0, count)}
	l.mu.Unlock()
	begin := time.Now()
	for i := range count {
		if err := until(ctx, begin.Add(time.Duration(float64(i)/rate*float64(time.Second)))); err != nil {
			return tally{}, err
		}
		l.place()
	}
	for {
		l.mu.Lock()
		t := l.tally
		l.mu.Unlock()
		if t.completed+t.failed == count || l.hold && t.connected+t.failed == count {
			return t, nil
		}
		if err := until(ctx, time.Now().Add(watchEvery)); err != nil {
			return t, err
		}
	}
}

// until waits for a time.
func until(ctx context.Context, at time.Time) error {
	if d := time.Until(at); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// place starts the next call, between the next two parties.
func (l *load) place() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.placed++
	c := &call{n: l.next, slot: l.next % len(l.slots)}
	l.next++
	if l.slots[c.slot] != nil { // they are still on the phone
		l.failed++
		return
	}
	l.slots[c.slot], l.calls[c.n] = c, c
	text := invite(c.n, callerNumber(c.slot), l.dial(c.slot), address(l.caller), l.via)
	c.invited = time.Now()
	c.lastNews = c.invited
	l.fromCaller(c, text, true)
}

// hangUp ends held calls, at rate a second, and waits until they are gone.
func (l *load) hangUp(ctx context.Context, rate float64) error {
	l.mu.Lock()
	l.hold = false
	up := make([]*call, 0, len(l.calls))
	for _, c := range l.calls {
		up = append(up, c)
	}
	l.mu.Unlock()
	begin := time.Now()
	for i, c := range up {
		if err := until(ctx, begin.Add(time.Duration(float64(i)/rate*float64(time.Second)))); err != nil {
			return err
		}
		l.mu.Lock()
		l.bye(c)
		l.mu.Unlock()
	}
	for left := 1; left > 0; {
		if err := until(ctx, time.Now().Add(watchEvery)); err != nil {
			return err
		}
		l.mu.Lock()
		left = len(l.calls)
		l.mu.Unlock()
	}
	return nil
}

// fromCaller and fromCallee send, and keep what must be answered. A failed send
// is one that is lost: it is sent again.
func (l *load) fromCaller(c *call, text []byte, keep bool) {
	if c.fromCaller = nil; keep {
		c.fromCaller, c.callerSent = text, time.Now()
	}
	_, _ = l.caller.WriteToUDPAddrPort(text, l.via)
}

func (l *load) fromCallee(c *call, text []byte, to netip.AddrPort) {
	c.fromCallee, c.calleeSent = text, time.Now()
	_, _ = l.callee.WriteToUDPAddrPort(text, to)
}

func (l *load) bye(c *call) {
	if c.ending || l.calls[c.n] != c {
		return
	}
	c.ending, c.lastNews = true, time.Now()
	l.fromCaller(c, follow("BYE", c.n, 2, c.ok, address(l.caller)), true)
}

// receive hands the messages of a socket on, one at a time.
func (l *load) receive(conn *net.UDPConn, on func(m message, from netip.AddrPort)) {
	buf := make([]byte, 65536)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if m, ok := read(buf[:n]); ok {
			l.mu.Lock()
			on(m, from)
			l.mu.Unlock()
		}
	}
}

// watch sends again what was not answered, and gives up calls that stand still.
func (l *load) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.mu.Lock()
			l.resend(time.Now())
			l.mu.Unlock()
		case <-l.closed:
			return
		}
	}
}

func (l *load) resend(now time.Time) {
	for _, c := range l.calls {
		if c.fromCaller != nil && now.Sub(c.callerSent) > resendAfter {
			c.callerSent = now
			l.resent++
			_, _ = l.caller.WriteToUDPAddrPort(c.fromCaller, l.via)
		}
		held := l.hold && c.acked && c.callerAnswered()
		if !held && now.Sub(c.lastNews) > giveUp {
			l.end(c, fmt.Errorf("stood still"))
		}
	}
}
