package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	resendAfter = 500 * time.Millisecond // T1 (RFC 3261 §17.1.1.1), without its doubling
	giveUp      = 8 * time.Second        // a call that has not gone on for so long has failed
	watchEvery  = 100 * time.Millisecond
)

// load is both carriers: it places calls from one socket and answers them on
// another, without media. It knows only as much SIP as such a call needs, so
// that it costs little beside the server.
type load struct {
	via            netip.AddrPort        // where INVITEs go: the server, or the callees themselves
	dial           func(slot int) string // the number that a caller dials
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

// tally counts what has happened since the start of a run.
type tally struct {
	connected, completed, failed int
	resent                       int             // by the load: it had no answer in time
	repeated                     int             // by the server, for the same reason
	added                        []time.Duration // INVITE to 180, without the time that the callee had them
	why                          string          // the last call that failed
}

// clean says that no call failed and nothing had to be sent again.
func (t tally) clean() bool { return t.failed == 0 && t.resent == 0 && t.repeated == 0 }

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
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		return nil, err
	}
	return c, c.SetReadBuffer(4 << 20)
}

// through sets where calls go, before any is placed.
func (l *load) through(via netip.AddrPort, dial func(slot int) string) { l.via, l.dial = via, dial }

func (l *load) close() {
	close(l.closed)
	_ = l.caller.Close()
	_ = l.callee.Close()
	l.workers.Wait()
}

func address(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// run places count calls, evenly at rate a second, and waits until all are over,
// or up, if they are to be held.
func (l *load) run(ctx context.Context, rate float64, count int) (tally, error) {
	l.mu.Lock()
	l.tally = tally{added: make([]time.Duration, 0, count)}
	l.mu.Unlock()
	err := evenly(ctx, rate, count, func(int) { l.place() })
	for err == nil {
		l.mu.Lock()
		t := l.tally
		l.mu.Unlock()
		if t.completed+t.failed == count || l.hold && t.connected+t.failed == count {
			return t, nil
		}
		err = until(ctx, time.Now().Add(watchEvery))
	}
	return tally{}, err
}

// hangUp ends the calls that are held, evenly at rate a second.
func (l *load) hangUp(ctx context.Context, rate float64) error {
	l.mu.Lock()
	l.hold = false
	var up []*call
	for _, c := range l.calls {
		up = append(up, c)
	}
	l.mu.Unlock()
	err := evenly(ctx, rate, len(up), func(i int) {
		l.mu.Lock()
		l.bye(up[i])
		l.mu.Unlock()
	})
	for left := 1; left > 0 && err == nil; {
		err = until(ctx, time.Now().Add(watchEvery))
		l.mu.Lock()
		left = len(l.calls)
		l.mu.Unlock()
	}
	return err
}

// evenly does something count times at rate a second. What is late is made up for.
func evenly(ctx context.Context, rate float64, count int, do func(i int)) error {
	begin := time.Now()
	for i := range count {
		if err := until(ctx, begin.Add(time.Duration(float64(i)/rate*float64(time.Second)))); err != nil {
			return err
		}
		do(i)
	}
	return nil
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

// receive hands on the messages of a socket, one at a time.
func (l *load) receive(conn *net.UDPConn, on func(m message, from netip.AddrPort)) {
	buf := make([]byte, 65536)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if m, ok := read(buf[:max(n, 0)]); ok {
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
		case now := <-tick.C:
			l.mu.Lock()
			for _, c := range l.calls {
				l.look(c, now)
			}
			l.mu.Unlock()
		case <-l.closed:
			return
		}
	}
}

func (l *load) look(c *call, now time.Time) {
	for _, u := range []*unanswered{&c.byCaller, &c.byCallee} {
		if u.text != nil && now.Sub(u.at) > resendAfter {
			u.at = now
			l.resent++
			u.send()
		}
	}
	held := l.hold && c.connected && c.byCaller.text == nil
	if !held && now.Sub(c.lastNews) > giveUp {
		l.fail(c, "stood still")
	}
}

// percentiles gives the median and the 99th percentile in milliseconds.
func percentiles(sorted []time.Duration) (p50, p99 float64) {
	if len(sorted) == 0 {
		return 0, 0
	}
	at := func(p int) float64 { return sorted[(len(sorted)-1)*p/100].Seconds() * 1000 }
	return at(50), at(99)
}

// The parties of pair i, and the number that masks them for each other.
const virtualNumber = "+914000000001"

func callerNumber(i int) string { return fmt.Sprintf("+9199000%05d", i) }
func calleeNumber(i int) string { return fmt.Sprintf("+9188000%05d", i) }
