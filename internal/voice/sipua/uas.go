package sipua

import (
	"errors"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/sdp"
	"tandem/internal/voice/siptx"
)

// newIncoming makes the caller's leg of an INVITE (RFC 3261 §12.1.1).
func (ua *Agent) newIncoming(tx *siptx.ServerTx, req *sip.Request, trunk line, id masking.CallID) *leg {
	l := &leg{ua: ua, trunk: trunk, call: id, name: "a", incoming: true, log: ua.o.Log.With("call", string(id), "leg", "a"), invite: tx,
		origin: siptx.Target{Network: tx.Network(), Addr: tx.Source()}, wallet: ua.walletOf(trunk)}
	l.dlg = dialog{callID: string(*req.CallID()), localTag: newTag(), remoteTag: tagOf(req.From().Params), local: req.To().Address,
		remote: req.From().Address, routes: recordRoutes(req), target: req.Contact().Address, peer: l.origin}
	l.dlg.remoteSeq.take(req.CSeq().SeqNo)
	l.dlg.learn(req)
	l.rel = reliableFor(req)
	l.sips = tx.Network() == "tls" && wantsSips(req)
	if offer, _ := description(req); offer != nil {
		l.session.theirs = sdp.Sum(offer)
	}
	ua.remember(l)
	tx.OnEnd(l.inviteOver)
	return l
}

// wantsSips reports whether the answer to an INVITE must bear a sips URI as its
// Contact (RFC 3261 §12.1.1).
func wantsSips(req *sip.Request) bool {
	from := req.Contact().Address
	if routes := recordRoutes(req); len(routes) > 0 {
		from = routes[0]
	}
	return strings.EqualFold(req.Recipient.Scheme, "sips") || strings.EqualFold(from.Scheme, "sips")
}

// inviteOver runs when the INVITE's transaction is gone. A leg that still waits
// for its answer then can never give one: the layer was closed, or the connection
// broke. Every other leg has got beyond its INVITE.
func (l *leg) inviteOver(error) {
	l.ua.o.Ladders.settle(l.rung, l.dlg.callID)
	l.ua.mu.Lock()
	l.inviteGone = true
	delete(l.ua.unheard, legKey{l.dlg.callID, l.dlg.localTag})
	l.ua.mu.Unlock()
	l.mu.Lock()
	waiting := l.phase == early
	l.mu.Unlock()
	if waiting {
		l.tell(b2bua.Event{Kind: b2bua.EvHungUp, Cause: masking.CauseFailed})
		l.leave()
	}
}

// Ring sends 180 (b2bua.Leg).
func (l *leg) Ring() { l.provisional(180, nil) }

// Speak sends 183 with a description, so that the caller hears what is said to him
// although nobody has answered (b2bua.Leg; RFC 3960 §3).
func (l *leg) Speak(body []byte) { l.provisional(183, body) }

// provisional tells the caller something before the final response to his INVITE.
func (l *leg) provisional(status int, body []byte) {
	if l.invite != nil {
		l.inform(response(l.invite.Request(), status, l.dlg.localTag, l.contact(), body))
	}
}

// accept sends 200 and repeats it until its ACK comes. It waits for the PRACK of a
// description, and says nothing more of media if one has been acknowledged: that
// was our answer (RFC 3261 §13.2.1).
func (l *leg) accept(body []byte) {
	l.mu.Lock()
	fits := l.phase == early && !l.hung && !l.hold(body)
	if fits {
		l.phase = answered
	}
	if l.rel.agreed {
		body = nil
	}
	l.mu.Unlock()
	if !fits {
		return
	}
	res := response(l.invite.Request(), 200, l.dlg.localTag, l.contact(), body)
	l.gave(body)
	l.renewed(l.invite.Request(), res)
	l.repeat(l.invite, res)
	err := l.ua.respond(l.invite, res)
	if err == nil {
		return
	}
	l.halt()
	l.mu.Lock()
	if l.phase == answered {
		l.phase = early // the 2xx never left; the call will refuse the INVITE
	}
	l.mu.Unlock()
	if !errors.Is(err, siptx.ErrBlocked) { // which has told the call by itself
		l.tell(b2bua.Event{Kind: b2bua.EvHungUp, Cause: masking.CauseFailed})
	}
}

// refuseInvite sends the final response of a call that is not taken up. siptx
// repeats it and takes its ACK; the leg has nothing left to do.
func (l *leg) refuseInvite(why b2bua.Reason) {
	l.mu.Lock()
	hung, late, open := l.hung, l.rel.late, l.rel.open
	l.mu.Unlock()
	if open != nil {
		l.ua.hearLate(l)
	}
	status := statusFor(why)
	switch {
	case hung: // RFC 3261 §15.1.2
		status = 487
	case late:
		status = 504
	}
	err := l.ua.respond(l.invite, response(l.invite.Request(), status, l.dlg.localTag, nil, nil)) // logged there
	l.refused = err == nil
	l.leave()
}

// acknowledged stops the 2xx; a leg that was to end meanwhile ends now. answer is
// the description in the ACK, if any.
func (l *leg) acknowledged(seq uint32, answer []byte) {
	l.mu.Lock()
	again := l.again
	if again == nil || again.seq != seq {
		l.mu.Unlock()
		return
	}
	l.again = nil
	if l.phase == answered {
		l.phase = talking
	}
	due := l.byeDue && l.phase == talking
	l.mu.Unlock()
	again.stop()
	switch {
	case due:
		l.bye()
	case again.offers && answer != nil:
		l.tell(b2bua.Event{Kind: b2bua.EvAgreed, Body: answer})
	case again.offers: // RFC 3261 §13.2.1 wants one
		l.tell(b2bua.Event{Kind: b2bua.EvDeclined})
	}
	l.proceed()
}

// unacknowledged ends a dialog whose 2xx nobody acknowledged (RFC 3261 §13.3.1.4).
func (l *leg) unacknowledged() {
	l.mu.Lock()
	l.again = nil
	fits := l.phase == answered || l.phase == talking
	due := l.byeDue
	l.mu.Unlock()
	if !fits {
		return
	}
	if !due { // told before the answer to our BYE tells that the leg is gone
		l.tell(b2bua.Event{Kind: b2bua.EvHungUp, Cause: masking.CauseFailed})
	}
	l.bye()
}

// unacked is a 2xx of ours that waits for its ACK.
type unacked struct {
	repeater
	seq    uint32
	offers bool // it holds an offer of ours, which the ACK answers
}

// repeat begins to send a 2xx again, at T1, then doubling up to T2, for 64*T1 (RFC
// 3261 §13.3.1.4): siptx has no say in a 2xx. It must be called before the 2xx is
// first sent.
func (l *leg) repeat(tx *siptx.ServerTx, res *sip.Response) {
	theirs, _ := description(tx.Request())
	u := &unacked{seq: tx.Request().CSeq().SeqNo, offers: theirs == nil && len(res.Body()) > 0}
	u.most = l.ua.o.Timers.T2
	if u.most == 0 {
		u.most = 4 * time.Second
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again = u
	l.repeatedly(&u.repeater, func() bool { return l.again == u },
		func() { _ = l.ua.respond(tx, res) }, l.unacknowledged) // logged there, and sent again anyway
}

// repeater does something again and again.
type repeater struct {
	most  time.Duration // the longest interval; 0 = none is too long
	timer *time.Timer
}

// repeatedly runs send after T1, then at doubled intervals, while current says so;
// after 64*T1 it runs over and ends. The caller holds l.mu, and so does the caller of
// current.
func (l *leg) repeatedly(r *repeater, current func() bool, send, over func()) {
	t1 := l.ua.o.Timers.T1
	if t1 == 0 {
		t1 = 500 * time.Millisecond
	}
	wait, left := t1, 64*t1
	var tick func()
	tick = func() {
		l.mu.Lock()
		fits := current()
		left -= wait
		last := left <= 0
		if fits && !last {
			if wait = min(2*wait, left); r.most > 0 {
				wait = min(wait, r.most)
			}
			r.timer = time.AfterFunc(wait, tick)
		}
		l.mu.Unlock()
		switch {
		case !fits:
		case last:
			over()
		default:
			send()
		}
	}
	r.timer = time.AfterFunc(wait, tick)
}

// stop ends the repetition; nil is at rest already. A tick under way finds that it
// is no longer the leg's.
func (u *unacked) stop() {
	if u != nil {
		u.timer.Stop()
	}
}
