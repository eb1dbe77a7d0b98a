package sipua

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// Dial rings a number over this way (b2bua.Trunk).
func (w *way) Dial(d b2bua.Dial) b2bua.Leg {
	ua := w.ua
	l := &leg{ua: ua, trunk: w.trunk, call: d.Call, name: "b", log: ua.o.Log.With("call", string(d.Call), "leg", "b"),
		origin: w.place.target()}
	l.Bind(d.Inbox, d.Hidden)
	if !w.state.take(w.trunk.Trunk, d.Waited) {
		l.phase = gone
		ua.o.Ladders.leave(ua.o.Ladders.join(nil, d.Call, "", "", w.trunk.Name, l.origin.Network), "", false) // an attempt without messages
		l.tell(b2bua.Event{Kind: b2bua.EvFailed, Cause: masking.CauseFailed, Retry: true})
		l.tell(b2bua.Event{Kind: b2bua.EvGone})
		return l
	}
	l.done = w.state.give
	l.wallet = ua.walletOf(w.trunk)
	l.dlg = dialog{callID: newTag() + newTag(), seq: 1, peer: l.origin}
	l.dlg.localTag = ua.tagFor(l.dlg.callID)
	req := outgoingInvite{trunk: w.trunk.Trunk, place: w.place, to: d.To, callerID: d.CallerID, callID: l.dlg.callID,
		tag: l.dlg.localTag, contact: l.contact(), hops: d.Hops, body: d.Offer}.build()
	l.session.ask(req, "")
	l.session.said = d.Offer
	l.dlg.local, l.dlg.remote = req.From().Address, req.To().Address
	ua.remember(l)
	l.silent = time.AfterFunc(ua.o.Silence, func() { l.noResponse(w.spot) })
	client, err := l.ask(req, l.origin, func(o siptx.Outcome) { l.onOutcome(o, w.spot) })
	if err != nil {
		l.inviteFailed(err, w.spot)
		return l
	}
	l.mu.Lock()
	l.client = client
	l.mu.Unlock()
	return l
}

// noResponse gives up a trunk that says nothing at all.
func (l *leg) noResponse(at *spot) {
	l.mu.Lock()
	fits := l.phase == early && !l.heard
	l.mu.Unlock()
	if !fits {
		return
	}
	at.note(false, toCall, 0, time.Now())
	l.tell(b2bua.Event{Kind: b2bua.EvFailed, Cause: masking.CauseFailed, Retry: true})
}

// onOutcome takes what the INVITE brings, in order of arrival.
func (l *leg) onOutcome(o siptx.Outcome, at *spot) {
	if o.Err != nil {
		l.inviteFailed(o.Err, at)
		return
	}
	status := o.Res.StatusCode
	if status < 200 {
		l.onProvisional(o.Res)
		return
	}
	l.mu.Lock()
	rang := l.rang
	l.mu.Unlock()
	worked, after := shown(o.Res, rang)
	at.note(worked, toCall, after, time.Now())
	if status < 300 {
		l.onAnswer(o.Res)
		return
	}
	l.onRefusal(status)
}

// responded: the far side is there, whatever it says, be it a refusal that is answered.
func (l *leg) responded() {
	l.mu.Lock()
	l.heard = true
	l.mu.Unlock()
	if l.silent != nil {
		l.silent.Stop()
	}
}

// inviteFailed ends an attempt that got no final response. What never left us is
// no fault of the trunk.
func (l *leg) inviteFailed(err error, at *spot) {
	l.mu.Lock()
	was, rang := l.phase, l.rang
	l.mu.Unlock()
	if was == early && !errors.Is(err, siptx.ErrBlocked) {
		if errors.Is(err, siptx.ErrTimeout) || errors.Is(err, siptx.ErrTransport) {
			at.note(false, toCall, 0, time.Now())
		}
		cause := masking.CauseFailed
		if rang {
			cause = masking.CauseNoAnswer
		}
		l.tell(b2bua.Event{Kind: b2bua.EvFailed, Cause: cause, Retry: !rang})
	}
	if was == early || was == ending {
		l.leave()
	}
}

// onEarly handles a request of a dialog that our INVITE has made but not yet
// answered. While our offer is open no other can be made (RFC 3311 §5.2, RFC 3261
// §14.2); once a reliable response has answered it one can, and is refused: until
// the INVITE is answered there is nobody to whom other media would matter. A callee
// must not say BYE yet (§15); one that does has given the call up.
func (l *leg) onEarly(tx *siptx.ServerTx, req *sip.Request) {
	body, ok := description(req)
	switch {
	case req.Method == sip.BYE:
		_ = l.ua.respond(tx, response(req, 200, "", nil, nil)) // logged there
		l.givenUp(tagOf(req.From().Params))
	case req.Method == sip.OPTIONS:
		l.ua.capable(tx, "")
	case req.Method == sip.UPDATE && !ok:
		l.ua.refuse(tx, 415)
	case req.Method == sip.UPDATE && body == nil:
		l.retarget(req)
		_ = l.ua.respond(tx, response(req, 200, "", l.contact(), nil)) // logged there
	case req.Method == sip.UPDATE && l.agreedEarly(tagOf(req.From().Params)):
		l.ua.refuse(tx, 488)
	case req.Method == sip.UPDATE || req.Method == sip.INVITE:
		l.ua.refuse(tx, 491)
	case req.Method == sip.PRACK: // we have sent nothing that asks for one
		l.ua.refuse(tx, 481)
	default:
		l.ua.decline(tx)
	}
}

// givenUp takes an early dialog off the list; with the last one the attempt is
// over, and the call will cancel the INVITE.
func (l *leg) givenUp(tag string) {
	l.mu.Lock()
	l.early = slices.DeleteFunc(l.early, func(e earlyDialog) bool { return e.dlg.remoteTag == tag })
	fits, rang := l.phase == early && len(l.early) == 0, l.rang
	l.mu.Unlock()
	if fits {
		cause, _ := causeOf(480, rang)
		l.tell(b2bua.Event{Kind: b2bua.EvFailed, Cause: cause})
	}
}

// onRefusal: siptx has sent the ACK.
func (l *leg) onRefusal(status int) {
	l.mu.Lock()
	was, rang := l.phase, l.rang
	l.mu.Unlock()
	if was == early {
		cause, retry := causeOf(status, rang)
		l.tell(b2bua.Event{Kind: b2bua.EvFailed, Status: status, Cause: cause, Retry: retry})
	}
	l.leave()
}

// onAnswer takes a 2xx: the first makes the dialog; every other is onFurther's.
// One that crossed our CANCEL is acknowledged and hung up.
func (l *leg) onAnswer(res *sip.Response) {
	l.mu.Lock()
	if l.made != nil || l.phase == gone {
		l.mu.Unlock()
		l.onFurther(res)
		return
	}
	cancelled := l.phase == ending
	l.phase = talking
	early := l.inherit(&l.dlg, res)
	made := l.dlg
	l.made = &made
	if !cancelled {
		l.granted(res)
	}
	l.mu.Unlock()
	l.sendAck(made, res)
	if cancelled {
		l.bye()
		return
	}
	body, _ := description(res)
	if body == nil {
		body = early
	}
	l.tell(b2bua.Event{Kind: b2bua.EvAnswered, Body: body})
}

// inherit makes a dialog of a 2xx, which sets its routes and target anew (RFC 3261
// §13.2.2.4); if it was an early one, the numbers of its requests go on. answer is
// the description that was agreed in it already, which the 2xx need not repeat. One
// that does, against RFC 3261 §13.2.1 with another, has the last word: there its
// media is. The caller holds l.mu.
func (l *leg) inherit(d *dialog, res *sip.Response) (answer []byte) {
	if e := l.earlyDialog(tagOf(res.To().Params)); e != nil {
		d.seq, d.remoteSeq, answer = e.dlg.seq, e.dlg.remoteSeq, e.answer
	}
	d.confirm(res)
	return answer
}

// onFurther takes a 2xx after the one that made the dialog: the same again is
// acknowledged again; one of another fork is acknowledged and hung up (RFC 3261
// §13.2.2.4), and so is any that comes to a leg without a dialog.
func (l *leg) onFurther(res *sip.Response) {
	tag := tagOf(res.To().Params)
	l.mu.Lock()
	if l.made != nil && tag == l.made.remoteTag {
		made := *l.made
		l.mu.Unlock()
		l.sendAck(made, res) // one that comes late may answer a re-INVITE
		return
	}
	known := slices.Contains(l.forks, tag)
	if !known && len(l.forks) < maxForks {
		l.forks = append(l.forks, tag)
	} else if !known {
		l.mu.Unlock()
		return // no proxy forks that far
	}
	fork := l.dlg
	fork.seq, fork.peer = res.CSeq().SeqNo, l.origin
	l.inherit(&fork, res)
	l.mu.Unlock()
	l.sendAck(fork, res)
	if !known {
		l.hangUp(fork)
	}
}

// sendAck acknowledges a 2xx. d is the dialog as that 2xx made it; the CSeq is that
// of the INVITE, whatever was sent in the dialog since (RFC 3261 §13.2.2.4).
func (l *leg) sendAck(d dialog, res *sip.Response) {
	if err := l.ua.tx.Send(d.within(sip.ACK, res.CSeq().SeqNo), d.hop(l.ours)); err != nil {
		l.log.Debug("ack not sent", "error", err.Error())
	}
}

// hangUp ends a dialog that nobody wants. Whether its BYE is answered does not matter.
func (l *leg) hangUp(d dialog) {
	q := &question{ua: l.ua, wallet: l.wallet, to: d.hop(l.ours), on: func(siptx.Outcome) {}}
	seq := d.seq + 1
	q.next = func() uint32 { seq++; return seq } // one repetition at a time
	if err := q.ask(d.within(sip.BYE, seq)); err != nil {
		l.log.Debug("bye of a fork not sent", "error", err.Error())
	}
}

// forgotten is how many requests a dialog may have seen that we know nothing of any
// more, PRACKs above all: its BYE must come after them.
const forgotten = 100

// OnStray gets responses that no transaction waits for. A 2xx that comes after a
// refusal, or when its INVITE was given up long ago, has made a dialog all the
// same: it is acknowledged and hung up (RFC 3261 §13.2.2.4). Our tag tells that
// the INVITE was ours.
func (ua *Agent) OnStray(res *sip.Response, src netip.AddrPort) {
	callID, tag := string(*res.CallID()), tagOf(res.From().Params)
	if res.CSeq().MethodName != sip.INVITE || res.StatusCode/100 != 2 {
		return
	}
	known := ua.find(callID, tag)
	switch {
	case known != nil && known.acknowledges(res):
		return
	case tag != ua.tagFor(callID):
		return
	case known != nil:
		known.onFurther(res)
		return
	}
	l := &leg{ua: ua, log: ua.o.Log, trunk: ua.trunks.byAddress(src.Addr())}
	l.wallet = ua.walletOf(l.trunk)
	l.origin = siptx.Target{Network: strings.ToLower(res.Via().Transport), Addr: src}
	d := dialog{callID: callID, localTag: tag, local: res.From().Address, remote: res.To().Address,
		seq: res.CSeq().SeqNo + forgotten, peer: l.origin}
	d.confirm(res)
	l.sendAck(d, res)
	l.hangUp(d)
}
