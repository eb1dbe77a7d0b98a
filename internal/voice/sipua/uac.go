package sipua

import (
	"errors"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// Dial rings a number over this way (b2bua.Trunk).
func (w *way) Dial(d b2bua.Dial) b2bua.Leg {
	ua := w.ua
	l := &leg{ua: ua, trunk: w.trunk, call: d.Call, name: "b", log: ua.o.Log.With("call", string(d.Call), "leg", "b")}
	l.Bind(d.Inbox, d.Hidden)
	if !w.state.take(w.trunk, time.Now()) {
		l.phase = gone
		l.tell(b2bua.Event{Kind: b2bua.EvFailed, Cause: masking.CauseFailed, Retry: true})
		l.tell(b2bua.Event{Kind: b2bua.EvGone})
		return l
	}
	l.done = w.state.give
	l.dlg = dialog{callID: newTag() + newTag(), localTag: newTag(), seq: 1,
		peer: siptx.Target{Network: string(w.trunk.Transport), Addr: w.target}}
	req := outgoingInvite{trunk: w.trunk, target: w.target, to: d.To, callerID: d.CallerID, callID: l.dlg.callID,
		tag: l.dlg.localTag, contact: l.contact(), hops: d.Hops, body: d.Offer}.build()
	l.dlg.local, l.dlg.remote = req.From().Address, req.To().Address
	ua.remember(l)
	l.silent = time.AfterFunc(ua.o.Silence, func() { l.noResponse(w.state) })
	client, err := ua.tx.Request(req, l.dlg.peer, func(o siptx.Outcome) { l.onOutcome(o, w.state) })
	if err != nil {
		l.inviteFailed(err, w.state)
		return l
	}
	l.mu.Lock()
	l.client = client
	l.mu.Unlock()
	return l
}

// noResponse gives up a trunk that says nothing at all.
func (l *leg) noResponse(trunk *trunkState) {
	trunk.note(false, time.Now())
	l.tell(b2bua.Event{Kind: b2bua.EvFailed, Status: 408, Cause: masking.CauseFailed, Retry: true})
}

// cancelInvite gives up an INVITE that has no final response; siptx holds the
// CANCEL back until a provisional one has come (RFC 3261 §9.1).
func (l *leg) cancelInvite(client *siptx.ClientTx) {
	if err := client.Cancel(); err != nil {
		l.log.Debug("cancel not sent", "error", err.Error())
	}
}

// onOutcome takes what the INVITE brings, in order of arrival.
func (l *leg) onOutcome(o siptx.Outcome, trunk *trunkState) {
	if o.Err != nil {
		l.inviteFailed(o.Err, trunk)
		return
	}
	l.mu.Lock()
	silent := l.silent
	l.mu.Unlock()
	silent.Stop()
	switch status := o.Res.StatusCode; {
	case status == 100:
	case status < 200:
		l.onProvisional()
	case status < 300:
		trunk.note(true, time.Now())
		l.onAnswer(o.Res)
	default:
		trunk.note(status < 500 || status >= 600, time.Now())
		l.onRefusal(status)
	}
}

// inviteFailed ends an attempt that got no final response.
func (l *leg) inviteFailed(err error, trunk *trunkState) {
	l.mu.Lock()
	was, rang := l.phase, l.rang
	l.mu.Unlock()
	if was == early && !errors.Is(err, siptx.ErrBlocked) {
		trunk.note(false, time.Now())
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

// onProvisional: any 18x means that the far side is at work on its phone. What
// it says or plays meanwhile is not passed on (calls.md §1.5).
func (l *leg) onProvisional() {
	l.mu.Lock()
	fits := l.phase == early && !l.rang
	l.rang = true
	l.mu.Unlock()
	if fits {
		l.tell(b2bua.Event{Kind: b2bua.EvRinging})
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

// onAnswer takes a 2xx: the first makes the dialog; the same again is
// acknowledged again; one of another fork is acknowledged and hung up (RFC 3261
// §13.2.2.4). One that crossed our CANCEL is acknowledged and hung up as well.
func (l *leg) onAnswer(res *sip.Response) {
	tag, _ := res.To().Params.Get("tag")
	l.mu.Lock()
	first := l.dlg.remoteTag == "" && (l.phase == early || l.phase == ending)
	same := tag == l.dlg.remoteTag
	if !first {
		ack := l.ack
		l.mu.Unlock()
		if same && ack != nil {
			l.sendAck(ack)
		} else if !same {
			l.hangUpFork(res, tag)
		}
		return
	}
	cancelled := l.phase == ending
	l.phase = talking
	l.dlg.confirm(res, tag)
	l.ack = l.dlg.within(sip.ACK, l.dlg.seq)
	ack := l.ack
	l.mu.Unlock()
	l.sendAck(ack)
	if cancelled {
		l.bye()
		return
	}
	body, _ := description(res)
	l.tell(b2bua.Event{Kind: b2bua.EvAnswered, Body: body})
}

// confirm completes a dialog from the 2xx that made it (RFC 3261 §12.1.2).
func (d *dialog) confirm(res *sip.Response, tag string) {
	d.remoteTag = tag
	d.target = d.remote
	if c := res.Contact(); c != nil {
		d.target = c.Address
	}
	d.routes = recordRoutes(res)
	slices.Reverse(d.routes)
}

func (l *leg) sendAck(ack *sip.Request) {
	l.mu.Lock()
	hop := l.hop()
	l.mu.Unlock()
	if err := l.ua.tx.Send(ack, hop); err != nil {
		l.log.Debug("ack not sent", "error", err.Error())
	}
}

// hangUpFork ends a second dialog that the same INVITE made.
func (l *leg) hangUpFork(res *sip.Response, tag string) {
	l.mu.Lock()
	fork := &leg{ua: l.ua, trunk: l.trunk, dlg: l.dlg}
	l.mu.Unlock()
	fork.dlg.seq = 1
	fork.dlg.confirm(res, tag)
	hop := fork.hop()
	if err := l.ua.tx.Send(fork.dlg.within(sip.ACK, 1), hop); err != nil {
		l.log.Debug("ack of a fork not sent", "error", err.Error())
	}
	if _, err := l.ua.tx.Request(fork.dlg.within(sip.BYE, 2), hop, func(siptx.Outcome) {}); err != nil {
		l.log.Debug("bye of a fork not sent", "error", err.Error())
	}
}
