package sipua

import (
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// newIncoming makes the caller's leg of an INVITE (RFC 3261 §12.1.1).
func (ua *Agent) newIncoming(tx *siptx.ServerTx, req *sip.Request, trunk masking.Trunk, id masking.CallID) *leg {
	l := &leg{ua: ua, trunk: trunk, call: id, name: "a", log: ua.o.Log.With("call", string(id), "leg", "a"), invite: tx,
		origin: siptx.Target{Network: tx.Network(), Addr: tx.Source()}}
	l.dlg = dialog{callID: string(*req.CallID()), localTag: newTag(), remoteTag: tagOf(req.From().Params), local: req.To().Address,
		remote: req.From().Address, routes: recordRoutes(req), target: req.Contact().Address, peer: l.origin}
	l.dlg.remoteSeq.take(req.CSeq().SeqNo)
	l.dlg.learn(req)
	ua.remember(l)
	tx.OnEnd(l.inviteOver)
	return l
}

// inviteOver runs when the INVITE's transaction is gone. A leg that still waits
// for its answer then can never give one: the layer was closed, or the connection
// broke. Every other leg has got beyond its INVITE.
func (l *leg) inviteOver(error) {
	l.ua.o.Ladders.settle(l.rung, l.dlg.callID)
	l.mu.Lock()
	waiting := l.phase == early
	l.mu.Unlock()
	if waiting {
		l.tell(b2bua.Event{Kind: b2bua.EvHungUp, Cause: masking.CauseFailed})
		l.leave()
	}
}

// Ring sends 180 (b2bua.Leg).
func (l *leg) Ring() { l.provisional(180, "Ringing", nil) }

// Speak sends 183 with a description, so that the caller hears what is said to him
// although nobody has answered (b2bua.Leg; RFC 3960 §3).
func (l *leg) Speak(body []byte) { l.provisional(183, "Session Progress", body) }

// provisional tells the caller something before the final response to his INVITE.
func (l *leg) provisional(status int, phrase string, body []byte) {
	if l.invite == nil {
		return
	}
	l.mu.Lock()
	fits := l.phase == early
	l.mu.Unlock()
	if fits {
		_ = l.ua.respond(l.invite, response(l.invite.Request(), status, phrase, l.dlg.localTag, l.contact(), body))
	}
}

// accept sends 200 and repeats it until its ACK comes.
func (l *leg) accept(body []byte) {
	l.mu.Lock()
	fits := l.phase == early && !l.hung
	if fits {
		l.phase = answered
	}
	l.mu.Unlock()
	if !fits {
		return
	}
	res := response(l.invite.Request(), 200, "OK", l.dlg.localTag, l.contact(), body)
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
	hung := l.hung
	l.mu.Unlock()
	status, phrase := statusFor(why)
	if hung { // RFC 3261 §15.1.2
		status, phrase = 487, "Request Terminated"
	}
	err := l.ua.respond(l.invite, response(l.invite.Request(), status, phrase, l.dlg.localTag, nil, nil)) // logged there
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
	l.bye()
	if !due {
		l.tell(b2bua.Event{Kind: b2bua.EvHungUp, Cause: masking.CauseFailed})
	}
}

// repeater sends a 2xx again, at T1, then doubling up to T2, until it is stopped
// or 64*T1 have passed (RFC 3261 §13.3.1.4): siptx has no say in a 2xx.
type repeater struct {
	seq    uint32
	offers bool // the 2xx holds an offer of ours, which the ACK answers
	timer  *time.Timer
}

// repeat begins to send a 2xx again; it must be called before the 2xx is first sent.
func (l *leg) repeat(tx *siptx.ServerTx, res *sip.Response) {
	t1, t2 := l.ua.o.Timers.T1, l.ua.o.Timers.T2
	if t1 == 0 {
		t1 = 500 * time.Millisecond
	}
	if t2 == 0 {
		t2 = 4 * time.Second
	}
	theirs, _ := description(tx.Request())
	r := &repeater{seq: tx.Request().CSeq().SeqNo, offers: theirs == nil}
	wait, left := t1, 64*t1
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again = r
	var tick func()
	tick = func() {
		l.mu.Lock()
		current := l.again == r
		if current {
			if left -= wait; left > 0 {
				wait = min(2*wait, t2, left)
				r.timer = time.AfterFunc(wait, tick)
			}
		}
		over := left <= 0
		l.mu.Unlock()
		switch {
		case !current:
		case over:
			l.unacknowledged()
		default:
			_ = l.ua.respond(tx, res) // logged there, and sent again anyway
		}
	}
	r.timer = time.AfterFunc(wait, tick)
}

// stop ends the repetition; a nil repeater is at rest already. A tick under way
// finds that it is no longer the leg's.
func (r *repeater) stop() {
	if r != nil {
		r.timer.Stop()
	}
}
