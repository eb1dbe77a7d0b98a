package sipua

import (
	"crypto/rand"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// This file answers re-INVITE and UPDATE (RFC 3261 §14.2, RFC 3311 §5.2). The call
// decides on one offer at a time. What we send ourselves is in proposal.go.

// verdict is what becomes of a re-INVITE or UPDATE.
type verdict int

const (
	ask     verdict = iota // the call decides
	refresh                // an UPDATE without offer: only the target is new
	wait                   // 500 with Retry-After: something of theirs is open
	glare                  // 491: an offer of ours is open
	over                   // 481
	brief                  // 422: their session would be too short
)

// onOffer takes a re-INVITE or UPDATE.
func (l *leg) onOffer(tx *siptx.ServerTx, req *sip.Request) {
	body, ok := description(req)
	if !ok {
		l.ua.refuse(tx, 415)
		return
	}
	source := siptx.Target{Network: tx.Network(), Addr: tx.Source()}
	var moved bool
	l.mu.Lock()
	again, due := l.reached(req.Method)
	v := l.judge(req.Method, body != nil)
	if due {
		v = over
	} else if (v == ask || v == refresh) && termsOf(req).brief() {
		v = brief
	}
	if v == ask || v == refresh {
		moved = l.refresh(req, source)
	}
	if v == ask {
		l.offer, l.asked = tx, true
		l.yield()
	}
	l.mu.Unlock()
	again.stop()
	switch v {
	case ask:
		if req.Method == sip.INVITE { // the call may have to ask the other side
			_ = l.ua.respond(tx, response(req, 100, "", nil, nil)) // logged there
		}
		l.tell(b2bua.Event{Kind: b2bua.EvOffered, Body: body})
	case refresh:
		res := response(req, 200, "", l.contact(), nil)
		l.renewed(req, res)
		_ = l.ua.respond(tx, res) // logged there
		if moved {
			l.tell(b2bua.Event{Kind: b2bua.EvMoved})
		}
	case brief:
		l.ua.refuse(tx, 422)
	case wait:
		l.ua.refuse(tx, 500)
	case glare:
		l.ua.refuse(tx, 491)
	case over:
		l.ua.refuse(tx, 481)
	}
	switch {
	case due:
		l.bye()
	case again != nil && v != ask: // what waited for that ACK; after an answer settle goes on
		l.proceed()
	}
}

// reached takes a re-INVITE for the ACK of our 2xx that is late or lost: its sender
// has got the 2xx (RFC 5407 §3.1.4). Not where the ACK has to bring an answer. It
// gives what need not be repeated any more; due says that the leg was to end with
// that ACK. The caller holds l.mu.
func (l *leg) reached(method sip.RequestMethod) (again *unacked, due bool) {
	if method != sip.INVITE || l.again == nil || l.again.offers {
		return nil, false
	}
	again, l.again = l.again, nil
	if l.phase == answered {
		l.phase = talking
	}
	return again, l.byeDue && l.phase == talking
}

// judge decides on a re-INVITE or UPDATE of the confirmed dialog. The caller holds l.mu.
func (l *leg) judge(method sip.RequestMethod, offers bool) verdict {
	switch {
	case l.phase == ending || l.phase == gone:
		return over
	case l.asked && (offers || method == sip.INVITE || l.offer != nil && l.offer.Request().Method == sip.UPDATE):
		return wait
	case method == sip.UPDATE && !offers:
		return refresh
	case l.phase == early && (method == sip.INVITE || !l.rel.agreed): // their first offer has no answer yet
		return wait
	case l.again != nil && l.again.offers: // nor has ours, which their ACK must bring (RFC 5407 §3.1.5)
		return glare
	case l.clashes(method, offers):
		return glare
	}
	return ask
}

// refresh takes the new remote target (RFC 3261 §12.2.2), and on an incoming leg
// the address that the peer, perhaps behind a NAT, sends from now. It reports
// whether either is new. The caller holds l.mu.
func (l *leg) refresh(req *sip.Request, source siptx.Target) (moved bool) {
	if c := req.Contact(); reachable(c) {
		moved = c.Address.String() != l.dlg.target.String()
		l.dlg.target = c.Address
	}
	if l.incoming && l.ours(source.Addr.Addr()) {
		moved = moved || l.dlg.peer != source
		l.dlg.peer = source
	}
	return moved
}

// settle answers the offer that waits. It reports whether the call owed an answer,
// which nobody gets if the offer has been withdrawn.
func (l *leg) settle(status int, body []byte) bool {
	l.mu.Lock()
	tx, owed := l.offer, l.asked
	l.offer, l.asked = nil, false
	if tx != nil && status == 200 && l.session.offered != "" {
		l.session.theirs = l.session.offered
	}
	l.session.offered = ""
	l.mu.Unlock()
	if tx == nil {
		l.proceed()
		return owed
	}
	res := response(tx.Request(), status, "", l.contact(), body)
	if status == 200 {
		l.gave(body)
	}
	if status == 200 && tx.Request().Method != sip.PRACK {
		l.renewed(tx.Request(), res)
	}
	if tx.Request().Method == sip.INVITE && status == 200 {
		l.repeat(tx, res)
	}
	if err := l.ua.respond(tx, res); err != nil {
		l.halt()
		l.ua.refuse(tx, 500)
	}
	l.goOn()
	l.proceed()
	return true
}

// halt stops repeating a 2xx that could not be sent.
func (l *leg) halt() {
	l.mu.Lock()
	again := l.again
	l.again = nil
	l.mu.Unlock()
	again.stop()
}

// withdraw answers a re-INVITE that the peer has cancelled before the call has
// decided on it (RFC 3261 §9.2). The call still owes an answer, which goes nowhere,
// so that the next offer cannot get it.
func (l *leg) withdraw(tx *siptx.ServerTx) {
	l.mu.Lock()
	waits := l.offer == tx
	if waits {
		l.offer = nil
	}
	l.mu.Unlock()
	if waits {
		l.terminated(tx)
		l.tell(b2bua.Event{Kind: b2bua.EvWithdrawn})
	}
}

// RefuseOffer refuses the offer that waits; the call stays as it was (b2bua.Leg).
func (l *leg) RefuseOffer() { l.settle(488, nil) }

// Answer answers the INVITE of an incoming leg, or the offer that waits (b2bua.Leg).
func (l *leg) Answer(body []byte) {
	if !l.settle(200, body) && l.invite != nil {
		l.accept(body)
	}
}

// retryAfterGlare is a random wait of up to ten seconds, as RFC 3261 §14.2 wants.
func retryAfterGlare() string {
	var b [1]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return itoa(int(b[0]) % 11)
}
