package siptx

import (
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// receive takes one message off the network: a datagram, or what the framing of a
// connection cut out. raw is not kept.
func (l *Layer) receive(raw []byte, from flow) {
	defer l.recovered("dispatcher")
	for len(raw) >= 2 && raw[0] == '\r' && raw[1] == '\n' { // §7.5, and keep-alives
		raw = raw[2:]
	}
	if len(raw) == 0 {
		return
	}
	m, bad := parse(raw)
	switch {
	case bad != nil:
		l.traceIn(raw, from, false, nil)
		l.refuse(bad, from)
	case m.res != nil:
		l.onResponse(m, raw, from)
	case m.req.Method == sip.ACK:
		l.onAck(m, raw, from)
	default:
		l.onRequest(m, raw, from)
	}
}

// recovered, deferred, keeps a panic from ending the process. The value of the
// panic may hold parts of a message: only its type is logged.
func (l *Layer) recovered(where string) {
	if p := recover(); p != nil {
		l.count.panics.Add(1)
		l.log.Error("sip: panic", "in", where, "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	}
}

func (l *Layer) traceIn(raw []byte, from flow, again bool, begun *ServerTx) {
	if again {
		l.count.again.Add(1)
	}
	if l.o.Trace != nil {
		l.o.Trace(Traced{Retransmission: again, Network: from.network(), Local: from.local(),
			Remote: from.remote, Raw: raw, At: time.Now(), Server: begun})
	}
}

func (l *Layer) onResponse(m *message, raw []byte, from flow) {
	l.mu.Lock()
	tx := l.clients[clientKey{m.branch, m.cseq.MethodName}]
	l.mu.Unlock()
	if tx == nil {
		l.traceIn(raw, from, false, nil)
		if m.vias == 1 { // with more it is not for us (§8.1.3.3)
			l.stray(m.res, from.remote)
		}
		return
	}
	l.traceIn(raw, from, tx.seen(m.res), nil)
	if ours := tx.topVia(); m.vias != 1 || m.via.Port != ours.Port || !strings.EqualFold(m.via.Host, ours.Host) {
		l.count.stray.Add(1) // §18.1.2: a sent-by that is not ours is discarded
		return
	}
	tx.receive(m.res, from)
}

func (l *Layer) stray(res *sip.Response, src netip.AddrPort) {
	l.count.stray.Add(1)
	l.o.Handler.OnStray(res, src)
}

func (l *Layer) onAck(m *message, raw []byte, from flow) {
	l.mu.Lock()
	tx := l.servers[m.serverKey(sip.INVITE)]
	l.mu.Unlock()
	l.traceIn(raw, from, tx != nil && tx.confirmed(), nil)
	if tx == nil || tx.acked() {
		l.o.Handler.OnAck(m.req)
	}
}

func (l *Layer) onRequest(m *message, raw []byte, from flow) {
	tx, verdict := l.admit(m, from)
	var begun *ServerTx
	if verdict == admitNew {
		begun = tx
	}
	l.traceIn(raw, from, verdict == admitKnown, begun)
	switch verdict {
	case admitKnown:
		tx.again()
	case admitMerged:
		l.count.merged.Add(1)
		l.reply(m.req, from, sip.StatusLoopDetected, "Request Merged")
	case admitFull:
		l.count.overload.Add(1)
		l.reply(m.req, from, sip.StatusServiceUnavailable, "Overloaded", sip.NewHeader("Retry-After", "5"))
	case admitNew:
		tx.arm()
		if m.req.Method == sip.CANCEL {
			l.onCancel(tx, m)
			return
		}
		l.handOver(tx, m.req)
	}
}

// handOver gives a new request to the TU. One that makes the TU panic is answered
// 500, so that nothing is left open.
func (l *Layer) handOver(tx *ServerTx, req *sip.Request) {
	done := false
	defer func() {
		if !done {
			_ = tx.Respond(answer(req, sip.StatusInternalServerError, "Internal Server Error", l.tagFor(req)))
		}
	}()
	l.o.Handler.OnRequest(tx, req)
	done = true
}

// onCancel answers a CANCEL (§9.2): 481 if there is no such INVITE, else 200, and
// the TU is told if the INVITE can still be cancelled.
func (l *Layer) onCancel(tx *ServerTx, m *message) {
	l.mu.Lock()
	invite := l.servers[m.serverKey(sip.INVITE)]
	l.mu.Unlock()
	code, reason, open, tag := sip.StatusOK, "OK", false, ""
	if invite == nil {
		code, reason = sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist"
	} else {
		open, tag = invite.unanswered()
	}
	if tag == "" {
		tag = l.tagFor(m.req)
	}
	if err := tx.Respond(answer(m.req, code, reason, tag)); err != nil {
		l.log.Warn("sip: CANCEL not answered", "error", err)
	}
	if open {
		l.o.Handler.OnCancel(invite, m.req)
	}
}

type verdict uint8

const (
	admitNew verdict = iota
	admitKnown
	admitMerged
	admitFull
	admitClosed
)

// admit finds the transaction of a request, or starts one.
func (l *Layer) admit(m *message, from flow) (*ServerTx, verdict) {
	key := m.serverKey(m.req.Method)
	var merge mergeKey
	if m.toTag == "" && m.req.Method != sip.CANCEL {
		merge = mergeKey{m.callID, m.fromTag, m.cseq.SeqNo, m.req.Method}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.servers[key] != nil:
		return l.servers[key], admitKnown
	case l.closed:
		return nil, admitClosed
	case merge != (mergeKey{}) && l.merged[merge] != nil:
		complete(m, from)
		return nil, admitMerged
	case len(l.servers) >= l.room(m):
		complete(m, from)
		return nil, admitFull
	}
	tx := l.newServerTx(m, from, key, merge)
	l.servers[key] = tx
	if merge != (mergeKey{}) {
		l.merged[merge] = tx
	}
	return tx, admitNew
}

// room is how many server transactions there may be when m comes. What belongs to a
// call, or ends one, may use a quarter more: overload refuses new calls first.
func (l *Layer) room(m *message) int {
	if m.toTag != "" || m.req.Method == sip.CANCEL {
		return l.o.MaxServerTx + l.o.MaxServerTx/4
	}
	return l.o.MaxServerTx
}

func (l *Layer) newServerTx(m *message, from flow, key serverKey, merge mergeKey) *ServerTx {
	complete(m, from)
	tx := &ServerTx{l: l, req: m.req, source: from.remote, flow: replyFlow(m.via, from), key: key, merge: merge,
		next: otherServer, state: stateTrying}
	if tx.invite() {
		tx.next, tx.state = inviteServer, stateProceeding
	}
	return tx
}

// complete notes in a request where it really came from.
func complete(m *message, from flow) {
	stamp(m.via, from.remote)
	m.req.SetSource(from.remote.String())
	m.req.SetTransport(strings.ToUpper(from.network()))
}

// stamp writes received and rport into the topmost Via (§18.2.1, RFC 3581 §4). What
// the sender has put there himself is overwritten.
func stamp(via *sip.ViaHeader, src netip.AddrPort) {
	host := src.Addr().String()
	rport := via.Params.Has("rport")
	if rport {
		via.Params.Add("rport", strconv.Itoa(int(src.Port())))
	}
	if rport || via.Host != host || via.Params.Has("received") {
		via.Params.Add("received", host)
	}
}

// replyFlow says where responses go: over the connection; else to the address the
// request came from, always, and to the port it came from. One exception keeps
// gateways that send from another port than they listen on: if they do not ask for rport
// and name their true address in sent-by, it is the port of sent-by (§18.2.2).
// maddr is not obeyed, as it would let a sender aim our responses at others.
func replyFlow(via *sip.ViaHeader, from flow) flow {
	if from.conn != nil || via.Params.Has("rport") || via.Host != from.remote.Addr().String() {
		return from
	}
	port := uint16(via.Port)
	if port == 0 {
		port = 5060
	}
	from.remote = netip.AddrPortFrom(from.remote.Addr(), port)
	return from
}

// answer builds a response (§8.2.6) with the given To tag, if any.
func answer(req *sip.Request, code int, reason, tag string) *sip.Response {
	res := sip.NewResponse(code, reason)
	for _, h := range req.GetHeaders("Via") {
		res.AppendHeader(h)
	}
	if h := req.From(); h != nil {
		res.AppendHeader(h)
	}
	if h := req.To(); h != nil {
		to := sip.HeaderClone(h).(*sip.ToHeader)
		if tag != "" && !to.Params.Has("tag") {
			to.Params.Add("tag", tag)
		}
		res.AppendHeader(to)
	}
	if h := req.CallID(); h != nil {
		res.AppendHeader(h)
	}
	if h := req.CSeq(); h != nil {
		res.AppendHeader(h)
	}
	if code == sip.StatusTrying {
		if h := req.GetHeader("Timestamp"); h != nil {
			res.AppendHeader(h)
		}
	}
	return res
}

// reply answers without a transaction (§8.2.7): the same request gets the same
// response, so the To tag is computed from it.
func (l *Layer) reply(req *sip.Request, from flow, code int, reason string, more ...sip.Header) {
	res := answer(req, code, reason, l.tagFor(req))
	for _, h := range more {
		res.AppendHeader(h)
	}
	raw, err := l.render(res, l.limit(from.network()))
	if err == nil {
		err = l.transmit(replyFlow(req.Via(), from), raw, false)
	}
	if err != nil {
		l.log.Debug("sip: stateless response not sent", "status", code, "error", err)
	}
}

func (l *Layer) tagFor(req *sip.Request) string {
	branch, _ := req.Via().Params.Get("branch")
	return l.tag(string(*req.CallID()), branch)
}

func (l *Layer) tag(callID, branch string) string {
	var h maphash.Hash
	h.SetSeed(l.seed)
	_, _ = h.WriteString(callID) // never fails
	_ = h.WriteByte(0)
	_, _ = h.WriteString(branch)
	var sum [8]byte
	return hex.EncodeToString(h.Sum(sum[:0]))
}

// refuse counts a message that could not be parsed and, if it was a request whose
// sender can be answered, tells him. The response repeats the sender's own fields as
// they came; what is missing there is missing here.
func (l *Layer) refuse(bad *refusal, from flow) {
	l.count.malformed.Add(1)
	l.log.Debug("sip: message refused", "source", from.remote.Addr(), "status", bad.code, "why", bad.why)
	if bad.code == 0 {
		return
	}
	f := salvage(bad.head)
	if f == nil {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %d %s\r\n", bad.code, bad.reason())
	if f.intact {
		stamp(f.via, from.remote)
		f.vias[0] = f.via.Value()
		from = replyFlow(f.via, from)
	}
	for _, v := range f.vias {
		fmt.Fprintf(&b, "Via: %s\r\n", v)
	}
	to := f.to
	if to != "" && !strings.Contains(strings.ToLower(to), "tag") {
		branch, _ := f.via.Params.Get("branch")
		to += ";tag=" + l.tag(f.callID, branch)
	}
	for _, h := range [...][2]string{{"From", f.from}, {"To", to}, {"Call-ID", f.callID}, {"CSeq", f.cseq}} {
		if h[1] != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
		}
	}
	b.WriteString("Content-Length: 0\r\n\r\n")
	raw := []byte(b.String())
	if err := l.check(f.callID, raw); err != nil {
		return // counted
	}
	if err := l.transmit(from, raw, false); err != nil {
		l.log.Debug("sip: refusal not sent", "error", err)
	}
}
