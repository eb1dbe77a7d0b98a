package siptx

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// A serverKey finds the transaction of a request: branch and sent-by of the topmost
// Via, and the method, that of the INVITE for an ACK (RFC 3261 §17.2.3). Without the
// magic cookie, branch holds what RFC 2543 compares; see legacyBranch.
type serverKey struct {
	branch string
	host   string
	port   int
	method sip.RequestMethod
}

// A mergeKey finds a request that has come by another way already (§8.2.2.2).
type mergeKey struct {
	callID, fromTag string
	seq             uint32
	method          sip.RequestMethod
}

// A ServerTx is a request of somebody else's, to be answered.
type ServerTx struct {
	l      *Layer
	req    *sip.Request
	source netip.AddrPort
	key    serverKey
	merge  mergeKey // zero if the request has a To tag
	next   machine

	// Note is the TU's own. It may be set where Options.Trace is told of the
	// request, and read from OnRequest on.
	Note any

	mu       sync.Mutex
	flow     flow // where responses go
	state    state
	repeat   alarm // G; in Proceeding, until the 100 that §17.2.1 asks for
	end      alarm // H, I, J, L
	interval time.Duration
	last     []byte // response sent last
	toTag    string // of the responses sent
	err      error  // how it ended
	told     bool
	onEnd    func(error)
}

// arm starts what runs before the TU has answered.
func (tx *ServerTx) arm() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	switch {
	case tx.state == stateTerminated:
	case tx.invite():
		tx.repeat.set(tx.l.timers.Trying, tx.onRepeat)
	default:
		tx.end.set(tx.l.timers.F, tx.onExpiry)
	}
}

// Request returns the request, its topmost Via completed with received and rport.
// It must not be changed.
func (tx *ServerTx) Request() *sip.Request { return tx.req }

// Source returns the address that the request came from.
func (tx *ServerTx) Source() netip.AddrPort { return tx.source }

// Network returns what it came over, "udp", "tcp" or "tls".
func (tx *ServerTx) Network() string {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.flow.network()
}

// OnEnd has f called once when the transaction is gone: with nil, or an error that
// wraps ErrTimeout (no ACK for a 3xx-6xx; no answer from the TU to a non-INVITE),
// ErrTransport or ErrClosed. f must not block; it may run inside Respond, and runs at
// once if the transaction is gone already. A second OnEnd replaces the first.
func (tx *ServerTx) OnEnd(f func(err error)) {
	tx.mu.Lock()
	tx.onEnd = f
	gone := tx.told
	tx.mu.Unlock()
	if gone {
		tx.tellEnd(f)
	}
}

// Respond sends a response: any number of 1xx, then one final one. siptx sets
// Content-Length and takes res as it is otherwise; Via, From, To, Call-ID and CSeq
// are those of the request (RFC 3261 §8.2.6).
//
// After a 2xx to an INVITE retransmitted INVITEs are absorbed, and the TU sends the
// 2xx again through Respond until the ACK comes (§13.3.1.4). A 3xx-6xx to an INVITE
// is retransmitted here. A response that comes too late is refused with ErrState. One
// that could not be sent gives an error wrapping ErrTransport, and unless it was a
// 2xx sent again, the transaction ends; ErrBlocked leaves it as it was.
func (tx *ServerTx) Respond(res *sip.Response) error {
	if !tx.l.gate.enter() {
		return ErrClosed
	}
	defer tx.l.gate.leave()
	if res.StatusCode < 100 || res.StatusCode > 699 {
		return fmt.Errorf("%w: status %d", ErrMalformed, res.StatusCode)
	}
	raw, err := tx.l.render(res, tx.l.limit(tx.Network()))
	if err != nil {
		return err
	}
	tx.mu.Lock()
	if res.StatusCode > 100 && tx.toTag == "" {
		tx.toTag = tagOf(res.To())
	}
	err = tx.respond(responseEvent(res.StatusCode), raw)
	tx.mu.Unlock()
	tx.tell()
	return err
}

// respond runs a response of the TU through the machine. The caller holds tx.mu.
func (tx *ServerTx) respond(e event, raw []byte) error {
	if tx.state == stateTerminated {
		if tx.err != nil {
			return fmt.Errorf("%w: %w", ErrState, tx.err)
		}
		return ErrState
	}
	if tx.state == stateProceeding {
		tx.repeat.stop() // no 100 needed any more
	}
	do, err := tx.apply(e, raw)
	if do&doRefuse != 0 {
		return ErrState
	}
	return err
}

// apply runs one event. raw is the response of doSend. The error is that of the
// network, and the machine has had it. The caller holds tx.mu, and calls tell
// after releasing it.
func (tx *ServerTx) apply(e event, raw []byte) (effect, error) {
	if tx.state == stateTerminated {
		return 0, nil
	}
	before := tx.state
	next, do := tx.next(before, e)
	tx.state = next
	if do&doQuiet != 0 {
		tx.repeat.stop()
		tx.end.stop()
	}
	if do&doRepeat != 0 && tx.flow.conn == nil {
		tx.interval = tx.l.timers.T1
		tx.repeat.set(tx.interval, tx.onRepeat)
	}
	if do&doLinger != 0 {
		if d := tx.linger(); d > 0 {
			tx.end.set(d, tx.onExpiry)
		} else {
			tx.state = stateTerminated
		}
	}
	if do&doTimeout != 0 {
		tx.err = ErrTimeout
	}
	var err error
	if do&doSend != 0 {
		again := bytes.Equal(raw, tx.last)
		tx.last = raw
		err = tx.transmit(again)
	}
	if do&doSendAgain != 0 && tx.last != nil {
		err = tx.transmit(true)
		if e == eventRepeat {
			tx.interval = min(2*tx.interval, tx.l.timers.T2)
			tx.repeat.set(tx.interval, tx.onRepeat)
		}
	}
	if err != nil {
		// What was not sent has not changed the state, so the state before counts.
		if next, do := tx.next(before, eventTransport); do&doFail != 0 {
			tx.state, tx.err = next, err
		}
	}
	if tx.state == stateTerminated {
		tx.repeat.stop()
		tx.end.stop()
		tx.forget()
	}
	return do, err
}

// transmit sends tx.last. If the connection that the request came over is gone, it
// goes to the address in Via's received and the port of sent-by (§18.2.2).
func (tx *ServerTx) transmit(again bool) error {
	if c := tx.flow.conn; c != nil && c.closed() {
		port := uint16(tx.key.port)
		if port == 0 {
			port = defaultPort(c.key.network)
		}
		to := netip.AddrPortFrom(tx.source.Addr(), port)
		f, err := tx.l.connect(flow{remote: to, key: connKey{network: c.key.network, remote: to}})
		if err != nil {
			return err
		}
		tx.flow = f
	}
	return tx.l.transmit(tx.flow, tx.last, again)
}

func (tx *ServerTx) linger() time.Duration {
	t, reliable := &tx.l.timers, tx.flow.conn != nil
	switch {
	case tx.state == stateAccepted:
		return t.L
	case tx.state == stateCompleted && tx.invite():
		return t.H
	case reliable:
		return 0
	case tx.state == stateConfirmed:
		return t.I
	}
	return t.J
}

func (tx *ServerTx) invite() bool { return tx.req.Method == sip.INVITE }

func (tx *ServerTx) onRepeat() { tx.fire(&tx.repeat, eventRepeat) }
func (tx *ServerTx) onExpiry() { tx.fire(&tx.end, eventEnd) }

func (tx *ServerTx) fire(a *alarm, e event) {
	if !tx.l.gate.enter() {
		return
	}
	defer tx.l.gate.leave()
	defer tx.l.recovered("timer")
	tx.mu.Lock()
	var do effect
	if a.take() {
		do, _ = tx.apply(e, nil)
	}
	tx.mu.Unlock()
	if do&doTrying != 0 {
		tx.trying()
	}
	tx.tell()
}

// trying sends a 100 if the TU has still said nothing (§17.2.1).
func (tx *ServerTx) trying() {
	raw, err := tx.l.render(answer(tx.req, sip.StatusTrying, "Trying", ""), tx.l.limit(tx.Network()))
	if err != nil {
		tx.l.log.Warn("sip: 100 not sent", "error", err)
		return
	}
	tx.mu.Lock()
	if tx.state == stateProceeding && tx.last == nil {
		_, _ = tx.apply(eventProvisional, raw) // a failure ends the transaction, and OnEnd tells
	}
	tx.mu.Unlock()
}

// again takes the request once more.
func (tx *ServerTx) again() {
	tx.mu.Lock()
	_, _ = tx.apply(eventRequest, nil) // a failure ends the transaction, and OnEnd tells
	tx.mu.Unlock()
	tx.tell()
}

// acked takes an ACK with the branch of the INVITE. It reports whether the ACK is
// the TU's: that for a 2xx should have a branch of its own, but not all have.
func (tx *ServerTx) acked() bool {
	tx.mu.Lock()
	do, _ := tx.apply(eventAck, nil)
	tx.mu.Unlock()
	tx.tell()
	return do&doPass != 0
}

// confirmed reports whether an ACK has been seen, so that one more is a retransmission.
func (tx *ServerTx) confirmed() bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.state == stateConfirmed
}

// unanswered reports whether a CANCEL still means something, and the To tag in use.
func (tx *ServerTx) unanswered() (bool, string) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.state == stateProceeding, tx.toTag
}

func (tx *ServerTx) abort(err error) {
	tx.mu.Lock()
	if tx.state != stateTerminated {
		tx.state, tx.err = stateTerminated, err
		tx.repeat.stop()
		tx.end.stop()
		tx.forget()
	}
	tx.mu.Unlock()
	tx.tell()
}

func (tx *ServerTx) forget() {
	tx.l.mu.Lock()
	if tx.l.servers[tx.key] == tx {
		delete(tx.l.servers, tx.key)
	}
	if tx.merge != (mergeKey{}) && tx.l.merged[tx.merge] == tx {
		delete(tx.l.merged, tx.merge)
	}
	tx.l.mu.Unlock()
}

// tell calls OnEnd's function once the transaction is gone.
func (tx *ServerTx) tell() {
	tx.mu.Lock()
	if tx.state != stateTerminated || tx.told {
		tx.mu.Unlock()
		return
	}
	tx.told = true
	f := tx.onEnd
	tx.mu.Unlock()
	if f != nil {
		tx.tellEnd(f)
	}
}

func (tx *ServerTx) tellEnd(f func(error)) {
	defer tx.l.recovered("end callback")
	f(tx.err) // written before told was set
}
