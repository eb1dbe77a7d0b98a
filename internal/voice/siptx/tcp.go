package siptx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
)

const (
	writeQueue   = 256              // messages waiting on a connection; one more closes it
	writeTimeout = 10 * time.Second // for one message
	openTimeout  = 5 * time.Second  // for connecting and the TLS handshake
	largeTimeout = 2 * time.Second  // for connecting, where UDP would do, too
	idleTimeout  = 10 * time.Minute // without any byte from the peer
	slowTimeout  = 32 * time.Second // for one message from its first byte to its last
	flushTimeout = time.Second      // for what is queued when a connection is to be closed
)

var (
	errQueueFull  = errors.New("write queue full, connection closed")
	errConnClosed = errors.New("connection closed")
)

// A listener takes TCP connections in, for SIP as it is or over TLS.
type listener struct {
	l       *Layer
	ln      net.Listener
	network string
	local   netip.AddrPort
}

// A connKey finds a connection: tcp or tls, the address of the far end, and what
// its certificate was to name, which is not always the address.
type connKey struct {
	network string
	remote  netip.AddrPort
	name    string // only of TLS connections that we opened; "" = the address
}

// A conn is a TCP connection, taken in or dialled, perhaps with TLS. Messages to
// send are queued, so that nobody waits for a peer. One goroutine (run) dials, does
// the handshake, writes and cleans up; it waits for another that reads.
type conn struct {
	l       *Layer
	key     connKey
	inbound bool
	out     chan []byte
	done    chan struct{} // closed once the connection is to be closed
	once    sync.Once
	timeout time.Duration // for opening it
	stood   atomic.Bool   // it was opened, and messages may have gone over it
	reads   atomic.Uint64 // how often something has come
	pinged  atomic.Bool   // a ping of ours is out
	answers atomic.Bool   // the peer has answered one

	mu    sync.Mutex
	nc    net.Conn // nil until dialled; once run reads and writes it is fixed
	raw   net.Conn // beneath TLS, else nil
	local netip.AddrPort
}

func (l *Layer) listenTCP(network string, addr netip.AddrPort) (netip.AddrPort, error) {
	family := "tcp4"
	if addr.Addr().Is6() {
		family = "tcp6"
	}
	ln, err := net.Listen(family, addr.String())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("siptx: listen: %w", err)
	}
	t := &listener{l: l, ln: ln, network: network, local: unmap(ln.Addr().(*net.TCPAddr).AddrPort())}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return netip.AddrPort{}, errors.Join(ErrClosed, ln.Close())
	}
	l.tcps = append(l.tcps, t)
	l.wg.Add(1)
	go t.accept()
	return t.local, nil
}

func (t *listener) accept() {
	defer t.l.wg.Done()
	for {
		nc, err := t.ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors, for instance
			t.l.log.Warn("sip: accepting a connection failed", "local", t.local, "error", err)
			if !t.l.pause(50 * time.Millisecond) {
				return
			}
			continue
		}
		t.l.takeIn(t.network, nc)
	}
}

// takeIn keeps a connection from a source that may talk to us, if there is room. No
// byte of a stranger's is read, so none gets as far as a handshake.
func (l *Layer) takeIn(network string, nc net.Conn) {
	remote := unmap(nc.RemoteAddr().(*net.TCPAddr).AddrPort())
	if l.o.Accept != nil && !l.o.Accept(remote.Addr()) {
		l.count.droppedSource.Add(1)
		_ = nc.Close()
		return
	}
	l.mu.Lock()
	key := connKey{network: network, remote: remote}
	old := l.conns[key] // on its way out, if the peer has its port back already
	if l.closed || l.inbound >= l.o.MaxConns || old != nil && !old.closed() {
		closed := l.closed
		l.mu.Unlock()
		if !closed {
			l.count.overload.Add(1)
		}
		_ = nc.Close()
		return
	}
	l.inbound++
	c := l.newConn(key, true)
	c.nc, c.local = nc, unmap(nc.LocalAddr().(*net.TCPAddr).AddrPort())
	l.mu.Unlock()
	go c.run()
}

// connTo returns the connection that a flow needs, or else the one that will do as
// well; it dials if neither stands.
func (l *Layer) connTo(f flow) (*conn, error) {
	key, over := f.key, f.over
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	for _, k := range []connKey{key, {network: key.network, remote: over}, {network: key.network, remote: over, name: key.name}} {
		if c := l.conns[k]; c != nil && !c.closed() {
			return c, nil
		}
	}
	c := l.newConn(key, false)
	if f.timeout > 0 {
		c.timeout = f.timeout
	}
	if at, ok := l.bound(key.network, key.remote.Addr()); ok {
		c.local = netip.AddrPortFrom(at.Addr(), 0)
	}
	go c.run()
	return c, nil
}

// stands reports whether there is a connection already.
func (l *Layer) stands(key connKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.conns[key]
	return c != nil && !c.closed() && c.stood.Load()
}

// newConn enters a connection in the table. The caller holds l.mu and starts run.
func (l *Layer) newConn(key connKey, inbound bool) *conn {
	c := &conn{l: l, key: key, inbound: inbound, timeout: openTimeout,
		out: make(chan []byte, writeQueue), done: make(chan struct{})}
	l.conns[key] = c
	l.wg.Add(1)
	return c
}

func (c *conn) localAddr() netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.local
}

// send queues raw. It never waits: a peer who does not read loses the connection.
func (c *conn) send(raw []byte) error {
	if c.closed() {
		return errConnClosed
	}
	select {
	case c.out <- raw:
		return nil
	default:
		c.close()
		return errQueueFull
	}
}

func (c *conn) close() { c.once.Do(func() { close(c.done) }) }

func (c *conn) closed() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// run owns the connection from dialling to cleaning up.
func (c *conn) run() {
	defer c.l.wg.Done()
	err := c.open()
	if err == nil {
		c.stood.Store(true)
		var wg sync.WaitGroup
		wg.Go(c.read)
		wg.Go(func() { // lets blocked calls return once closing begins
			<-c.done
			_ = c.nc.SetReadDeadline(time.Now())
			_ = c.nc.SetWriteDeadline(time.Now().Add(flushTimeout))
		})
		err = c.write()
		c.close()
		wg.Wait()
		if c.raw != nil && !errors.Is(err, errConnClosed) {
			_ = c.raw.Close() // the peer does not read: TLS would wait for it to take our goodbye
		}
	}
	if c.nc != nil {
		_ = c.nc.Close()
	}
	c.close()
	c.l.lost(c, fmt.Errorf("%w: %w", ErrTransport, err))
}

// open dials, unless the connection was taken in, and does the handshake of TLS.
func (c *conn) open() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		select {
		case <-c.done:
			cancel()
		case <-ctx.Done():
		}
	})
	if !c.inbound {
		if err := c.dial(ctx); err != nil {
			return err
		}
	}
	return c.secure(ctx)
}

func (c *conn) dial(ctx context.Context) error {
	d := net.Dialer{}
	if a := c.local.Addr(); a.IsValid() && !a.IsUnspecified() {
		d.LocalAddr = net.TCPAddrFromAddrPort(c.local)
	}
	nc, err := c.l.dial(ctx, &d, c.key.remote.String())
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.nc, c.local = nc, unmap(nc.LocalAddr().(*net.TCPAddr).AddrPort())
	c.mu.Unlock()
	return nil
}

// write sends what is queued until the connection is to be closed, and then what is
// still there.
func (c *conn) write() error {
	p := c.newPulse()
	defer p.stop()
	for {
		select {
		case <-p.due():
			if err := p.beat(); err != nil {
				return err
			}
		case raw := <-c.out:
			if err := c.writeOne(raw); err != nil {
				return err
			}
		case <-c.done:
			for len(c.out) > 0 { // nobody else receives
				if err := c.writeOne(<-c.out); err != nil {
					return err
				}
			}
			return errConnClosed
		}
	}
}

func (c *conn) writeOne(raw []byte) error {
	if !c.closed() {
		_ = c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
		if c.closed() { // closing has set a nearer deadline, perhaps just before
			_ = c.nc.SetWriteDeadline(time.Now().Add(flushTimeout))
		}
	}
	_, err := c.nc.Write(raw)
	return err
}

// read cuts the stream into messages until it ends, breaks the framing, or stalls.
func (c *conn) read() {
	defer c.close()
	f := framer{pong: c.pong}
	var begun time.Time // of a message not yet whole
	for {
		deadline := time.Now().Add(idleTimeout)
		if !begun.IsZero() {
			deadline = begun.Add(slowTimeout)
		}
		_ = c.nc.SetReadDeadline(deadline)
		if c.closed() {
			return
		}
		n, err := c.nc.Read(f.room())
		if n > 0 {
			c.reads.Add(1)
		}
		f.filled(n)
		whole, ok := c.drain(&f)
		if !ok || err != nil {
			return
		}
		switch {
		case f.empty():
			begun = time.Time{}
		case whole || begun.IsZero():
			begun = time.Now()
		}
	}
}

// drain takes every whole message out of f. It reports whether there was one, and
// false if the connection cannot go on.
func (c *conn) drain(f *framer) (whole, ok bool) {
	for {
		msg, kind := f.next()
		switch kind {
		case frameMore:
			return whole, true
		case framePing:
			if c.send([]byte("\r\n")) != nil {
				return whole, false
			}
		case frameBroken:
			c.broken(msg)
			return whole, false
		case frameMessage:
			whole = true
			c.l.receive(msg, flow{conn: c, remote: c.key.remote})
		}
	}
}

// broken answers a message that has no usable length, if it has a head to answer to.
func (c *conn) broken(head []byte) {
	bad := &refusal{why: "message boundary lost, connection closed"}
	if len(head) > 0 && len(head) <= maxHead && cleanOctets(string(head)) {
		bad.code, bad.head = sip.StatusBadRequest, string(head)
	}
	from := flow{conn: c, remote: c.key.remote}
	c.l.traceIn(head, from, false, nil)
	c.l.refuse(bad, from)
}

// lost takes a connection out of the table and fails the requests that wait for a
// response on it (RFC 3261 §18.4). Responses of server transactions find another way.
func (l *Layer) lost(c *conn, err error) {
	l.mu.Lock()
	if l.conns[c.key] == c {
		delete(l.conns, c.key)
	}
	if c.inbound {
		l.inbound--
	}
	var orphans []*ClientTx
	if !l.closed { // Close ends them with ErrClosed
		for _, tx := range l.clients {
			if tx.flow.conn == c {
				orphans = append(orphans, tx)
			}
		}
	}
	l.mu.Unlock()
	for _, tx := range orphans {
		tx.fail(c, err)
	}
}
