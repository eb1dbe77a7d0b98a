// Package siptx carries SIP messages reliably: the INVITE and non-INVITE,
// client and server transactions of RFC 3261 §17 as corrected by RFC 6026, over
// UDP, TCP and TLS sockets of its own.
//
// It is for a user agent core (its "TU", transaction user): package sipua. It
// knows transactions, not dialogs: who a call belongs to, which tag a response
// bears and when a 2xx is sent again are the TU's affairs. It never resolves a
// name: a Target is an address and a port.
//
// Messages and headers are those of github.com/emiago/sipgo/sip. That library's
// sockets, connection pool and transactions are not used, and its parser only for
// URIs: what arrives is framed, bounded and checked here first (see parse).
package siptx

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// What a transaction may end with, other than a response. Errors returned by
// this package wrap one of them where one applies; their text never holds any
// part of a message.
var (
	// ErrTimeout: nobody answered in time (Timer B or F, or 64*T1 after a CANCEL),
	// or nobody acknowledged (Timer H).
	ErrTimeout = errors.New("siptx: timed out")
	// ErrTransport: the message could not be handed to the network.
	ErrTransport = errors.New("siptx: transport failed")
	// ErrClosed: the layer is closed.
	ErrClosed = errors.New("siptx: closed")
	// ErrBlocked: Options.Check refused the message; nothing was sent.
	ErrBlocked = errors.New("siptx: message blocked")
	// ErrTooLarge: the message is longer than its transport may carry.
	ErrTooLarge = errors.New("siptx: message too large")
	// ErrMalformed: the message handed in cannot be sent as SIP, for instance
	// because a line break inside a value would start another header field.
	ErrMalformed = errors.New("siptx: message is not valid SIP")
	// ErrState: the transaction takes no such response any more (it has ended, or
	// has had its final response).
	ErrState = errors.New("siptx: not allowed in this state of the transaction")
)

// Options says how a Layer behaves. Handler is needed; the rest may be zero.
type Options struct {
	Log    *slog.Logger // nil = discarded
	Timers Timers

	// Accept is asked for the source of each datagram and each connection before
	// anything of it is read. False: dropped and counted. nil = all.
	Accept func(src netip.Addr) bool

	// Check sees the rendered bytes of every message before its first
	// transmission. If it returns an error the message is not sent, and the
	// sender gets that error wrapped together with ErrBlocked. nil = none.
	Check func(callID string, raw []byte) error

	// Trace sees every message in and out, retransmissions too. It must not
	// block, and must not call the layer or a transaction. nil = none.
	Trace func(Traced)

	Handler Handler

	// Credentials are asked for at each TLS handshake, so that a change holds for the
	// connections to come. nil = no TLS.
	Credentials func() *Credentials

	// Advertise replaces the host of a listening address in Via, for each address
	// family that it holds an address of. It is needed to listen on an unspecified
	// address (0.0.0.0, ::).
	Advertise []netip.Addr

	// MaxServerTx bounds the live server transactions; a new request beyond it is
	// answered 503 without keeping state. CANCELs and requests with a To tag (in a
	// dialog, as a BYE is) may use a quarter more. 0 = 131072, what 2000 calls a second leave
	// behind over UDP: an INVITE and a BYE each, lingering for 32 s.
	MaxServerTx int

	// MaxConns bounds the connections taken in, those at their handshake too; one more is closed at once.
	// 0 = 1024.
	MaxConns int

	// MaxUDPRequest is the longest request sent over UDP without trying TCP first, in
	// bytes; see Request. RFC 3261 §18.1.1 puts it at 1300 where the path MTU is
	// unknown. 0 = 65507, all that UDP over IPv4 can carry.
	MaxUDPRequest int
}

// Traced is one message as it was on the wire.
type Traced struct {
	Out            bool
	Retransmission bool // seen or sent before, as far as the transaction can tell
	Network        string
	Local, Remote  netip.AddrPort
	Raw            []byte // valid during the call only
	At             time.Time
	Server         *ServerTx // of a request that begins one; else nil
}

// A Handler is the TU. Its methods run on the goroutine that read the message
// and must not block. Calls for one connection come one at a time, in the order of arrival.
type Handler interface {
	// OnRequest gets each new request, neither ACK nor CANCEL, exactly once.
	OnRequest(tx *ServerTx, req *sip.Request)
	// OnAck gets the ACK for a 2xx, as often as it arrives. The ACK for any other
	// final response is absorbed by its transaction.
	OnAck(req *sip.Request)
	// OnCancel says that invite, which has no final response yet, is no longer
	// wanted. siptx has answered the CANCEL with 200 and has not answered the
	// INVITE: the TU decides (487, RFC 3261 §9.2).
	OnCancel(invite *ServerTx, cancel *sip.Request)
	// OnStray gets a response that no client transaction waits for, for instance
	// a 2xx after Timer M, or one that follows a 3xx-6xx (RFC 3261 §16.7 step 5 lets
	// a proxy forward it): the TU has to ACK it and to say BYE.
	OnStray(res *sip.Response, src netip.AddrPort)
}

// A Target is where a request goes: "udp", "tcp" or "tls", and a resolved address.
type Target struct {
	Network string
	Addr    netip.AddrPort
	// Name is the host name that led to Addr, which the certificate of a TLS server
	// must bear (RFC 5922 §7.3). "" = the address itself.
	Name string
	// Over is the far end of another connection of this network that is taken rather
	// than a new one opened, if it stands: the one that the peer has opened to us.
	Over netip.AddrPort
}

// An Outcome is what a client transaction has to tell: a response, or the error
// that ended it.
type Outcome struct {
	Res *sip.Response
	Err error
}

// A Layer owns sockets and transactions. Make one with New, and Close it.
type Layer struct {
	o      Options
	log    *slog.Logger
	timers Timers
	seed   maphash.Seed // of the To tags of stateless responses
	count  counters

	stopping chan struct{}  // closed by Close
	wg       sync.WaitGroup // readers, writers, acceptors
	gate     gate           // work that timers and Respond do
	spare    sync.Pool      // *bytes.Buffer, for rendering
	dial     func(ctx context.Context, d *net.Dialer, addr string) (net.Conn, error)

	mu      sync.Mutex // guards what follows; taken after a transaction's lock, never before
	closed  bool
	clients map[clientKey]*ClientTx
	servers map[serverKey]*ServerTx
	merged  map[mergeKey]*ServerTx
	sockets []*socket
	tcps    []*listener
	conns   map[connKey]*conn
	inbound int // of conns: taken in rather than dialled
}

// New returns a layer without sockets; see Listen. It refuses options without a
// Handler.
func New(o Options) (*Layer, error) {
	if o.Handler == nil {
		return nil, errors.New("siptx: options without a handler")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxServerTx <= 0 {
		o.MaxServerTx = 131072
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 1024
	}
	if o.MaxUDPRequest <= 0 || o.MaxUDPRequest > maxDatagram {
		o.MaxUDPRequest = maxDatagram
	}
	return &Layer{
		o:        o,
		log:      o.Log,
		timers:   o.Timers.orRFC(),
		seed:     maphash.MakeSeed(),
		stopping: make(chan struct{}),
		gate:     gate{drained: make(chan struct{})},
		dial: func(ctx context.Context, d *net.Dialer, addr string) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", addr)
		},
		clients: make(map[clientKey]*ClientTx),
		servers: make(map[serverKey]*ServerTx),
		merged:  make(map[mergeKey]*ServerTx),
		conns:   make(map[connKey]*conn),
	}, nil
}

// Listen opens a socket on addr ("udp", "tcp" or "tls", port 0 for any) and returns
// the address it got. It may be called several times. A request goes out from the
// first socket of its network and of its target's address family.
func (l *Layer) Listen(network string, addr netip.AddrPort) (netip.AddrPort, error) {
	addr = unmap(addr)
	if !addr.Addr().IsValid() {
		return netip.AddrPort{}, errors.New("siptx: listen: no address")
	}
	if l.advertised(addr).Addr().IsUnspecified() {
		return netip.AddrPort{}, fmt.Errorf("siptx: listen on %s: an unspecified address needs Options.Advertise", addr)
	}
	switch network {
	case "udp":
		return l.listenUDP(addr)
	case "tls":
		if l.o.Credentials == nil {
			return netip.AddrPort{}, errors.New("siptx: listen: TLS needs credentials")
		}
		return l.listenTCP(network, addr)
	case "tcp":
		return l.listenTCP(network, addr)
	}
	return netip.AddrPort{}, fmt.Errorf("siptx: listen: network %q is none of udp, tcp and tls", network)
}

// advertised is what others are told of a listening address of ours.
func (l *Layer) advertised(local netip.AddrPort) netip.AddrPort {
	for _, a := range l.o.Advertise {
		if a.Unmap().Is4() == local.Addr().Is4() {
			return netip.AddrPortFrom(a.Unmap(), local.Port())
		}
	}
	return local
}

// Close closes the sockets, ends every transaction with ErrClosed and waits for
// all goroutines and callbacks of the layer; none runs afterwards. It must not be
// called from a callback. A second call does nothing.
func (l *Layer) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	sockets, tcps := l.sockets, l.tcps
	conns := slices.Collect(maps.Values(l.conns))
	l.mu.Unlock()

	close(l.stopping)
	var errs []error
	for _, s := range sockets {
		errs = append(errs, s.pc.Close())
	}
	for _, t := range tcps {
		errs = append(errs, t.ln.Close())
	}
	for _, c := range conns {
		c.close() // flushes what is queued, for flushTimeout at most
	}
	l.wg.Wait()
	l.endAll()
	l.gate.close()
	return errors.Join(errs...)
}

// endAll ends what is left with ErrClosed. No new transaction can come: closed is set.
func (l *Layer) endAll() {
	l.mu.Lock()
	clients := slices.Collect(maps.Values(l.clients))
	servers := slices.Collect(maps.Values(l.servers))
	l.mu.Unlock()
	for _, tx := range clients {
		tx.abort(ErrClosed)
	}
	for _, tx := range servers {
		tx.abort(ErrClosed)
	}
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
