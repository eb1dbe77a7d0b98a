// Package relay forwards the media of calls: RTP between two legs, through a
// port pair of its own for each, rewritten so that neither peer learns
// anything of the other but the voice (RFC 3550).
//
// An Engine hands out Sessions; a Session is one call. The package knows no
// SIP and no SDP: who signals tells it addresses and payload numbers.
//
// Two drivers move the packets. On Linux a few shards do, each an epoll loop
// with raw system calls that alone reads the sockets of its sessions (ADR
// 0012). Elsewhere, or when asked for, it is a goroutine a socket on
// net.UDPConn, which is also what the shards are compared with. What a packet
// becomes (source, reception, flow) is the same code for both, and so is what
// the engine itself says to a side (Speech).
package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// ErrClosed is what a closed engine or session answers.
var ErrClosed = errors.New("media relay closed")

const (
	defaultQuarantine = 30 * time.Second
	reportInterval    = 5 * time.Second // RFC 3550 §6.2
)

// What may move the packets of an engine.
const (
	AutoEngine     = "auto"     // the fastest that the system has: epoll on Linux, else portable
	PortableEngine = "portable" // a goroutine a socket
)

// Options of an engine.
type Options struct {
	IP netip.Addr // local address to bind; unspecified only together with Advertise
	// Advertise is the address that peers reach IP by, where a NAT stands one
	// to one before it; default IP. Session.Local gives it.
	Advertise netip.Addr
	// MinPort and MaxPort bound the ports, both included. Both 0: the kernel
	// chooses, for tests.
	MinPort, MaxPort uint16
	Quarantine       time.Duration // rest of a port after a call; 0 = 30 s, negative = none
	// Engine is AutoEngine or PortableEngine; empty = AutoEngine.
	Engine string
	Log    *slog.Logger     // default: discard
	Now    func() time.Time // default time.Now; must not go back
}

// Engine owns the media ports of a process. Its methods may be called from any
// goroutine.
type Engine struct {
	advertise netip.Addr
	ports     *ports
	log       *slog.Logger
	now       func() time.Time
	epoch     time.Time // every time.Duration of a moment counts from here
	reports   time.Duration
	driver    driver
	speaker   *speaker
	stopped   sync.Once // for speaker and driver

	mu       sync.Mutex // never taken for a packet
	closed   bool
	sessions map[*Session]struct{}
	past     Totals // of closed sessions
}

// Totals counts packets over sessions.
type Totals struct {
	PacketsIn, PacketsOut uint64 // RTP
	Strays                uint64 // packets that were not the peer's, RTP and RTCP
	Malformed             uint64
}

// EngineStats is the state of an engine.
type EngineStats struct {
	Sessions    int // open
	FreePorts   int // pairs; -1 when the kernel chooses
	Quarantined int // pairs that rest after a call
	Totals          // since New, closed sessions included
}

// New makes an engine. It refuses an address that peers cannot send to, a
// range with less than two pairs, and an Engine that it does not know. It opens
// no socket.
func New(o Options) (*Engine, error) {
	o.IP, o.Advertise = o.IP.Unmap(), o.Advertise.Unmap()
	if !o.Advertise.IsValid() {
		o.Advertise = o.IP
	}
	if !o.IP.IsValid() || o.Advertise.IsUnspecified() || o.Advertise.IsMulticast() || o.IP.Is4() != o.Advertise.Is4() {
		return nil, fmt.Errorf("media address %v, advertised as %v, is none that a peer can send to", o.IP, o.Advertise)
	}
	if o.Quarantine == 0 {
		o.Quarantine = defaultQuarantine
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p, err := newPorts(o.IP, o.MinPort, o.MaxPort, max(0, o.Quarantine))
	if err != nil {
		return nil, err
	}
	e := &Engine{advertise: o.Advertise, ports: p, log: o.Log, now: o.Now, epoch: o.Now(),
		reports: reportInterval, sessions: map[*Session]struct{}{}}
	switch o.Engine {
	case "", AutoEngine:
		e.driver = fastest(e)
	case PortableEngine:
		e.driver = portable{}
	default:
		return nil, fmt.Errorf("media engine %q is neither %q nor %q", o.Engine, AutoEngine, PortableEngine)
	}
	p.bound = e.driver.listen
	e.speaker = newSpeaker(e)
	return e, nil
}

// Elapsed is the time since the engine was made, by its monotonic clock: the
// one that Packet.At is read from.
func (e *Engine) Elapsed() time.Duration { return e.now().Sub(e.epoch) }

// Open binds the ports of a call. Nothing is forwarded before both sides are
// connected. It gives ErrNoPorts when there are no two free pairs, ErrClosed
// after Close.
func (e *Engine) Open() (*Session, error) { return e.open(nil) }

// open begins a session, from where another one was if st says so.
func (e *Engine) open(st *SessionState) (*Session, error) {
	a, err := e.ports.open(e.Elapsed())
	if err != nil {
		return nil, fmt.Errorf("open media of side A: %w", err)
	}
	b, err := e.ports.open(e.Elapsed())
	if err != nil {
		a.close()
		e.ports.unused(a.port)
		return nil, fmt.Errorf("open media of side B: %w", err)
	}
	s := newSession(e, a, b)
	if st != nil {
		s.restore(*st)
	}
	if err := e.begin(s); err != nil {
		e.ports.unused(a.port)
		e.ports.unused(b.port)
		return nil, err
	}
	return s, nil
}

// begin lets the sockets of a session be read. On an error they are closed.
func (e *Engine) begin(s *Session) (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err = ErrClosed; !e.closed {
		s.reader, err = e.driver.start(s)
	}
	if err != nil {
		s.ends[A].close()
		s.ends[B].close()
		return fmt.Errorf("read media: %w", err)
	}
	e.sessions[s] = struct{}{}
	return nil
}

// Spare reports whether there are ports to spare: a quarter of them is free. Who has
// something less urgent than others' calls asks before Open.
func (e *Engine) Spare() bool { return e.ports.spare(e.Elapsed()) }

// Close ends all sessions and waits for every goroutine. A second call waits
// too.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	open := make([]*Session, 0, len(e.sessions))
	for s := range e.sessions {
		open = append(open, s)
	}
	e.mu.Unlock()
	for _, s := range open {
		s.Close()
	}
	e.stopped.Do(func() {
		e.speaker.close()
		e.driver.close()
	})
	return nil
}

// forget takes a session that has closed its sockets off the list, and lets
// its ports rest.
func (e *Engine) forget(s *Session, t Totals) {
	now := e.Elapsed()
	for i := range s.ends {
		e.ports.retire(s.ends[i].port, now)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sessions, s)
	e.past.add(t)
}

// Stats gives the state of the engine. It looks at every open session.
func (e *Engine) Stats() EngineStats {
	e.mu.Lock()
	st := EngineStats{Sessions: len(e.sessions), Totals: e.past}
	for s := range e.sessions {
		st.add(s.totals())
	}
	e.mu.Unlock()
	st.FreePorts, st.Quarantined = e.ports.count(e.Elapsed())
	return st
}

func (t *Totals) add(o Totals) {
	t.PacketsIn += o.PacketsIn
	t.PacketsOut += o.PacketsOut
	t.Strays += o.Strays
	t.Malformed += o.Malformed
}
