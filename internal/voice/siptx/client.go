package siptx

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// A clientKey finds the transaction of a response: the branch of the topmost Via
// and the method in CSeq (RFC 3261 §17.1.3).
type clientKey struct {
	branch string
	method sip.RequestMethod
}

// A ClientTx is a request of ours under way.
type ClientTx struct {
	l    *Layer
	req  *sip.Request
	key  clientKey
	next machine
	on   func(Outcome)

	mu        sync.Mutex
	sending            // flow is written with the layer's lock held, too
	reads     uint64   // of flow's connection, when it was sent
	small     *sending // by UDP, if the connection cannot be had that req was too large to do without
	state     state
	repeat    alarm // A, E
	end       alarm // B, D, F, K, M
	interval  time.Duration
	ack       []byte // for a 3xx-6xx
	tags      []string
	cancelled bool
	waiting   bool         // the CANCEL waits for a provisional
	cancelHdr []sip.Header // what it is to bear
	pending   []Outcome    // not yet told
	telling   bool         // somebody is telling the TU
}

// sending is a request as it is sent one way.
type sending struct {
	raw  []byte
	via  *sip.ViaHeader
	flow flow
}

// Request starts a client transaction for any method but ACK and CANCEL. It takes
// req over: siptx sets Via (a new branch, rport) and Content-Length, and nobody may
// change it afterwards.
//
// on gets what comes, in order of arrival, never two calls at a time, from
// goroutines of the layer; it must not block, and may run before Request returns.
// For an INVITE that is every 1xx, the first final response, and every further 2xx
// (retransmissions and forks, RFC 6026); siptx itself acknowledges a 3xx-6xx. A
// transaction that had no 2xx ends with exactly one terminal outcome: a final
// response, or an error that wraps ErrTimeout, ErrTransport or ErrClosed.
//
// A request to a UDP target that is longer than Options.MaxUDPRequest goes over TCP
// to the same address, and over UDP after all if no connection can be had there
// (RFC 3261 §18.1.1).
//
// If Request returns an error nothing was sent and on is never called.
func (l *Layer) Request(req *sip.Request, to Target, on func(Outcome)) (*ClientTx, error) {
	if req.Method == sip.ACK || req.Method == sip.CANCEL {
		return nil, fmt.Errorf("siptx: %s is not a request to start a transaction with", req.Method)
	}
	f, sentBy, err := l.route(to)
	if err != nil {
		return nil, err
	}
	pushVia(req, to.Network, sentBy)
	return l.start(req, f, on)
}

// enlarge turns a request that is too large for UDP into one over TCP.
func (l *Layer) enlarge(req *sip.Request, small sending) (sending, bool) {
	f, sentBy, err := l.route(Target{Network: "tcp", Addr: small.flow.remote})
	if err != nil {
		return sending{}, false
	}
	via := small.via.Clone()
	via.Transport, via.Host, via.Port = "TCP", sentBy.Addr().String(), int(sentBy.Port())
	req.ReplaceHeader(via)
	raw, err := l.render(req, maxMessage)
	if err != nil {
		return sending{}, false
	}
	f.timeout = largeTimeout
	return sending{raw: raw, via: via, flow: f}, true
}

// Send sends a request outside any transaction: the ACK for a 2xx. Like Request it
// takes req over and gives it a Via of its own. Sending the ACK again, for each
// retransmission of the 2xx, is the caller's business.
func (l *Layer) Send(req *sip.Request, to Target) error {
	f, sentBy, err := l.route(to)
	if err != nil {
		return err
	}
	pushVia(req, to.Network, sentBy)
	raw, err := l.render(req, l.limit(to.Network))
	if err != nil {
		return err
	}
	if f.socket != nil && len(raw) > l.o.MaxUDPRequest && l.stands(connKey{network: "tcp", remote: f.remote}) {
		// Nobody would tell whether a new connection comes about, so none is tried.
		if large, ok := l.enlarge(req, sending{raw, req.Via(), f}); ok {
			raw, f = large.raw, large.flow
		}
	}
	if f, err = l.connect(f); err != nil {
		return err
	}
	return l.transmit(f, raw, false)
}

// start sends req, whose Via is in place, and keeps its transaction.
func (l *Layer) start(req *sip.Request, f flow, on func(Outcome)) (*ClientTx, error) {
	if req.CSeq() == nil || req.CSeq().MethodName != req.Method {
		return nil, fmt.Errorf("%w: CSeq missing or of another method", ErrMalformed)
	}
	raw, err := l.render(req, l.limit(f.network()))
	if err != nil {
		return nil, err
	}
	branch, _ := req.Via().Params.Get("branch")
	tx := &ClientTx{
		l: l, req: req, sending: sending{raw: raw, via: req.Via(), flow: f}, on: on,
		key:      clientKey{branch, req.Method},
		next:     otherClient,
		state:    stateTrying,
		interval: l.timers.T1,
	}
	if f.socket != nil && len(raw) > l.o.MaxUDPRequest {
		small := tx.sending
		if large, ok := l.enlarge(req, small); ok {
			tx.sending, tx.small = large, &small
		}
	}
	if tx.flow, err = l.connect(tx.flow); err != nil {
		return nil, err
	}
	if tx.invite() {
		tx.next, tx.state = inviteClient, stateCalling
	}
	if err := tx.begin(); err != nil {
		return nil, err
	}
	return tx, nil
}

func (tx *ClientTx) begin() error {
	l := tx.l
	tx.mu.Lock()
	defer tx.mu.Unlock()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.clients[tx.key] = tx
	l.mu.Unlock()
	if tx.flow.conn != nil {
		tx.reads = tx.flow.conn.reads.Load()
	}

	if err := l.transmit(tx.flow, tx.raw, false); err != nil && !tx.shrink(tx.flow.conn) {
		tx.state = stateTerminated
		tx.forget()
		return err
	}
	if tx.flow.socket != nil {
		tx.repeat.set(tx.interval, tx.onRepeat)
	}
	if tx.invite() {
		tx.end.set(l.timers.B, tx.onEnd)
	} else {
		tx.end.set(l.timers.F, tx.onEnd)
	}
	return nil
}

// Request returns the request as it was sent. It must not be changed.
func (tx *ClientTx) Request() *sip.Request { return tx.req }

func (tx *ClientTx) invite() bool { return tx.req.Method == sip.INVITE }

// Cancel asks the far side to give up an INVITE: it sends a CANCEL (RFC 3261 §9.1)
// with the given header fields added (Reason), as soon as a provisional response
// has come, and from then on gives the INVITE 64*T1 to end. After a final response, or
// a first Cancel, it does nothing. A 2xx may still come and is delivered as ever.
func (tx *ClientTx) Cancel(headers ...sip.Header) error {
	if !tx.invite() {
		return errors.New("siptx: only an INVITE can be cancelled")
	}
	tx.mu.Lock()
	if tx.cancelled || tx.state != stateCalling && tx.state != stateProceeding {
		tx.mu.Unlock()
		return nil
	}
	tx.cancelled = true
	if tx.state == stateCalling {
		tx.waiting, tx.cancelHdr = true, headers
		tx.mu.Unlock()
		return nil
	}
	tx.end.set(tx.l.timers.B, tx.onEnd)
	tx.mu.Unlock()
	return tx.sendCancel(headers)
}

// sendCancel starts the transaction of the CANCEL. What is answered to it does not
// matter: the INVITE's own final response, or its end timer, is the end.
func (tx *ClientTx) sendCancel(headers []sip.Header) error {
	c := tx.derive(sip.CANCEL, tx.req.To())
	for _, h := range headers {
		c.AppendHeader(h)
	}
	tx.mu.Lock()
	f := tx.flow
	tx.mu.Unlock()
	_, err := tx.l.start(c, f, func(Outcome) {})
	return err
}

// GiveUp ends a request other than INVITE whose answer nobody waits for any more: it is
// not sent again, and nothing is left of it. One that is answered ends as it would. on may
// still be told what has come, and is told of nothing else.
func (tx *ClientTx) GiveUp() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if !tx.invite() && (tx.state == stateTrying || tx.state == stateProceeding) {
		tx.terminate()
	}
}

// terminate ends the transaction now. The caller holds tx.mu.
func (tx *ClientTx) terminate() {
	tx.state = stateTerminated
	tx.repeat.stop()
	tx.end.stop()
	tx.forget()
}

// derive makes the CANCEL (§9.1) or the ACK for a 3xx-6xx (§17.1.1.3): they share
// with the INVITE everything but the method, and the ACK its To.
func (tx *ClientTx) derive(method sip.RequestMethod, to *sip.ToHeader) *sip.Request {
	r := sip.NewRequest(method, tx.req.Recipient)
	r.AppendHeader(tx.topVia())
	for _, h := range tx.req.GetHeaders("Route") {
		r.AppendHeader(h)
	}
	hops := sip.MaxForwardsHeader(70)
	r.AppendHeader(&hops)
	if h := tx.req.From(); h != nil {
		r.AppendHeader(h)
	}
	if to != nil {
		r.AppendHeader(to)
	}
	if h := tx.req.CallID(); h != nil {
		r.AppendHeader(h)
	}
	r.AppendHeader(&sip.CSeqHeader{SeqNo: tx.req.CSeq().SeqNo, MethodName: method})
	return r
}

// topVia is the Via of the request as it was sent.
func (tx *ClientTx) topVia() *sip.ViaHeader {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.via
}

// seen reports whether res is a retransmission, as far as one can tell: a final
// response after a final response, a 2xx with a To tag already known.
func (tx *ClientTx) seen(res *sip.Response) bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	switch tx.state {
	case stateCompleted:
		return res.StatusCode >= 200
	case stateAccepted:
		return slices.Contains(tx.tags, tagOf(res.To()))
	}
	return false
}

// receive takes a response off the network.
func (tx *ClientTx) receive(res *sip.Response, from flow) {
	e := responseEvent(res.StatusCode)
	if e == eventFailure && tx.invite() {
		tx.prepareAck(res)
	}
	tx.mu.Lock()
	if e == eventSuccess && tx.invite() {
		if tag := tagOf(res.To()); !slices.Contains(tx.tags, tag) {
			tx.tags = append(tx.tags, tag)
		}
	}
	do := tx.apply(e, Outcome{Res: res})
	cancel := tx.waiting && tx.state == stateProceeding
	if cancel {
		tx.waiting = false
		tx.end.set(tx.l.timers.B, tx.onEnd)
	}
	tx.mu.Unlock()

	if cancel {
		if err := tx.sendCancel(tx.cancelHdr); err != nil {
			tx.l.log.Warn("sip: CANCEL not sent", "error", err)
		}
	}
	tx.tell()
	if do&doStray != 0 {
		tx.l.stray(res, from.remote)
	}
}

// prepareAck renders the ACK for a 3xx-6xx, once, outside the lock: Check is not
// ours. If that fails the response goes unacknowledged, and is delivered.
func (tx *ClientTx) prepareAck(res *sip.Response) {
	tx.mu.Lock()
	needed := tx.ack == nil && (tx.state == stateCalling || tx.state == stateProceeding)
	network := tx.flow.network()
	tx.mu.Unlock()
	if !needed {
		return
	}
	raw, err := tx.l.render(tx.derive(sip.ACK, res.To()), tx.l.limit(network))
	if err != nil {
		tx.l.log.Warn("sip: ACK not sent", "error", err)
		return
	}
	tx.mu.Lock()
	if tx.ack == nil {
		tx.ack = raw
	}
	tx.mu.Unlock()
}

// apply runs one event through the machine. The caller holds tx.mu, and calls tell
// after releasing it.
func (tx *ClientTx) apply(e event, o Outcome) effect {
	if tx.state == stateTerminated {
		return 0
	}
	next, do := tx.next(tx.state, e)
	first := next != tx.state
	tx.state = next
	if do&doPass != 0 || do&(doTimeout|doFail) != 0 {
		tx.pending = append(tx.pending, o)
	}
	if c := tx.flow.conn; do&doTimeout != 0 && c != nil && c.reads.Load() == tx.reads {
		c.close() // nothing at all has come since: it is dead, and others wait on it too
	}
	if do&doQuiet != 0 { // answered: nothing will be sent again
		tx.repeat.stop()
		tx.end.stop()
		tx.raw = nil
	}
	if do&doLinger != 0 {
		if d := tx.linger(); d > 0 {
			tx.end.set(d, tx.onEnd)
		} else {
			tx.state = stateTerminated
		}
	}
	var err error
	if do&doAck != 0 && tx.ack != nil {
		err = tx.l.transmit(tx.flow, tx.ack, !first)
	}
	if do&doSendAgain != 0 {
		err = tx.l.transmit(tx.flow, tx.raw, true)
		tx.repeat.set(tx.lengthen(), tx.onRepeat)
	}
	if err != nil {
		tx.apply(eventTransport, Outcome{Err: err})
	}
	if tx.state == stateTerminated {
		tx.terminate()
	}
	return do
}

// linger is how long the state just entered absorbs what still comes.
func (tx *ClientTx) linger() time.Duration {
	t := &tx.l.timers
	switch {
	case tx.state == stateAccepted:
		return t.M
	case tx.flow.conn != nil:
		return 0
	case tx.invite():
		return t.D
	}
	return t.K
}

// lengthen returns the next interval of Timer A (doubled each time) or E (doubled
// up to T2, and T2 at once in Proceeding).
func (tx *ClientTx) lengthen() time.Duration {
	tx.interval *= 2
	if !tx.invite() && (tx.interval > tx.l.timers.T2 || tx.state == stateProceeding) {
		tx.interval = tx.l.timers.T2
	}
	return tx.interval
}

func (tx *ClientTx) onRepeat() { tx.fire(&tx.repeat, eventRepeat, nil) }
func (tx *ClientTx) onEnd()    { tx.fire(&tx.end, eventEnd, ErrTimeout) }

func (tx *ClientTx) fire(a *alarm, e event, err error) {
	if !tx.l.gate.enter() {
		return
	}
	defer tx.l.gate.leave()
	defer tx.l.recovered("timer")
	tx.mu.Lock()
	if a.take() {
		tx.apply(e, Outcome{Err: err})
	}
	tx.mu.Unlock()
	tx.tell()
}

// fail ends the transaction because its connection is lost, unless there is another
// way.
func (tx *ClientTx) fail(c *conn, err error) {
	tx.mu.Lock()
	if tx.flow.conn == c && !tx.shrink(c) { // else it has gone another way meanwhile
		tx.apply(eventTransport, Outcome{Err: err})
	}
	tx.mu.Unlock()
	tx.tell()
}

// shrink sends a large request over UDP after all, if nobody took the connection.
// One that was lost later may have carried the request. The caller holds tx.mu.
func (tx *ClientTx) shrink(c *conn) bool {
	if tx.small == nil || c.stood.Load() || tx.state != stateCalling && tx.state != stateTrying {
		return false
	}
	tx.l.mu.Lock()
	tx.sending, tx.small = *tx.small, nil
	tx.l.mu.Unlock()
	if err := tx.l.transmit(tx.flow, tx.raw, false); err != nil {
		return false
	}
	tx.repeat.set(tx.interval, tx.onRepeat)
	return true
}

// abort ends the transaction whatever its state; the TU is told unless it has had
// its final response.
func (tx *ClientTx) abort(err error) {
	tx.mu.Lock()
	answered := tx.state == stateCompleted || tx.state == stateAccepted
	if tx.state != stateTerminated {
		tx.terminate()
		if !answered {
			tx.pending = append(tx.pending, Outcome{Err: err})
		}
	}
	tx.mu.Unlock()
	tx.tell()
}

// forget takes the transaction out of the layer's table. The caller holds tx.mu.
func (tx *ClientTx) forget() {
	tx.l.mu.Lock()
	if tx.l.clients[tx.key] == tx {
		delete(tx.l.clients, tx.key)
	}
	tx.l.mu.Unlock()
}

// tell gives the TU what is pending, in order, without the lock. If another
// goroutine is at it, that one takes over what this one would have told.
func (tx *ClientTx) tell() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.telling {
		return
	}
	tx.telling = true
	for i := 0; i < len(tx.pending); i++ {
		o := tx.pending[i]
		tx.mu.Unlock()
		tx.tellOne(o)
		tx.mu.Lock()
	}
	clear(tx.pending)
	tx.pending = tx.pending[:0]
	tx.telling = false
}

func (tx *ClientTx) tellOne(o Outcome) {
	defer tx.l.recovered("response callback")
	tx.on(o)
}

func tagOf(to *sip.ToHeader) string {
	if to == nil {
		return ""
	}
	tag, _ := to.Params.Get("tag")
	return tag
}
