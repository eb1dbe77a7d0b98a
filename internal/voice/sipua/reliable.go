package sipua

import (
	"crypto/rand"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// This file sends provisional responses reliably (RFC 3262 §3): numbered, again and
// again until the caller acknowledges them by PRACK, one at a time.
//
// Where the INVITE requires it, all of them go so. Where it only supports it, those
// that bear a description do: without the description the caller cannot hear what is
// said to him, and no later message brings it. A 180 that is lost costs him a
// ring-back tone; a PRACK for each would make a ringing call twice as dear.

// reliable is what an incoming leg says reliably. The leg's mu guards it.
type reliable struct {
	supported, required bool // by the INVITE
	offered             bool // the INVITE holds an offer

	number uint32          // RSeq of the last; 0 = there was none
	open   *numbered       // sent last and not acknowledged; nil = none
	queue  []*sip.Response // to be sent when it is
	agreed bool            // one that is acknowledged held a description
	held   bool            // our answer waits until it may be sent
	answer []byte          // what it says
	late   bool            // 64*T1 went by without PRACK
}

// numbered is a reliable provisional response that waits for its PRACK.
type numbered struct {
	repeater
	res *sip.Response
}

// stop ends the repetition; nil is at rest already.
func (n *numbered) stop() {
	if n != nil {
		n.timer.Stop()
	}
}

func reliableFor(invite *sip.Request) reliable {
	offer, _ := description(invite)
	return reliable{supported: lists(invite, "Supported", optionReliable), required: lists(invite, "Require", optionReliable),
		offered: offer != nil}
}

// wants reports whether a provisional response is to be sent reliably.
func (r *reliable) wants(body []byte) bool { return r.required || r.supported && body != nil }

// may reports whether RFC 3262 §5 lets a reliable response go: the first that
// answers an INVITE without an offer has to bear ours.
func (r *reliable) may(body []byte) bool { return r.offered || body != nil || r.number != 0 }

// blocks reports whether a 2xx has to wait (RFC 3262 §3): a description that has not
// been acknowledged may have been lost.
func (r *reliable) blocks() bool { return r.open != nil && len(r.open.res.Body()) > 0 }

// next numbers a response.
func (r *reliable) next(res *sip.Response) *numbered {
	if r.number == 0 {
		r.number = firstNumber()
	} else {
		r.number++
	}
	res.AppendHeader(sip.NewHeader("Require", optionReliable))
	res.AppendHeader(sip.NewHeader("RSeq", strconv.FormatUint(uint64(r.number), 10)))
	res.AppendHeader(sip.NewHeader("Allow", allowed)) // so that the peer may send UPDATE (RFC 3311 §5.1)
	r.open = &numbered{res: res}
	return r.open
}

// firstNumber is a random number from 1 to 2**31-1 (RFC 3262 §3).
func firstNumber() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return max(1, binary.BigEndian.Uint32(b[:])>>1)
}

// inform tells the caller something before the final response to his INVITE.
func (l *leg) inform(res *sip.Response) {
	l.mu.Lock()
	body := res.Body()
	fits := l.phase == early && !l.rel.held
	byNumber := fits && l.rel.wants(body)
	var first *numbered
	switch {
	case !byNumber:
	case !l.rel.may(body): // what cannot be said as he requires is not said
		fits = false
	case l.rel.open != nil:
		l.rel.queue = append(l.rel.queue, res)
	default:
		first = l.begin(res)
	}
	l.mu.Unlock()
	switch {
	case !fits:
	case first != nil:
		_ = l.ua.respond(l.invite, first.res) // logged there, and sent again
	case !byNumber:
		_ = l.ua.respond(l.invite, res) // logged there
	}
}

// begin numbers a response and repeats it until its PRACK comes; the caller, who
// holds l.mu, sends it the first time.
func (l *leg) begin(res *sip.Response) *numbered {
	n := l.rel.next(res)
	l.repeatedly(&n.repeater, func() bool { return l.rel.open == n && l.phase == early },
		func() { _ = l.ua.respond(l.invite, n.res) }, l.unnoticed) // logged there, and sent again
	return n
}

// unnoticed ends a call whose reliable response nobody has acknowledged in 64*T1:
// the INVITE is refused with 504 (RFC 3262 §3: a 5xx).
func (l *leg) unnoticed() {
	l.mu.Lock()
	l.rel.late = true
	l.mu.Unlock()
	l.tell(b2bua.Event{Kind: b2bua.EvHungUp, Cause: masking.CauseFailed})
}

// acknowledgement is what a PRACK comes to.
type acknowledgement int

const (
	matched       acknowledgement = iota
	matchedAnswer                 // it holds the answer to the offer in our response
	matchedOffer                  // it holds an offer, to be answered in its own response
	matchedUnfit                  // it holds a description that none of the two can be
	unmatched
)

// onPrack takes the acknowledgement of a provisional response. What it acknowledges
// is acknowledged whatever becomes of a description in it: otherwise the response
// would be repeated although it is there.
func (l *leg) onPrack(tx *siptx.ServerTx, req *sip.Request) {
	body, ok := description(req)
	if !ok {
		l.ua.refuse(tx, 415)
		return
	}
	l.mu.Lock()
	a := l.match(tx, value(req, "RAck"), body)
	l.mu.Unlock()
	switch a {
	case unmatched:
		l.ua.refuse(tx, 481)
		return
	case matchedUnfit:
		l.ua.refuse(tx, 488)
	case matchedOffer:
		l.tell(b2bua.Event{Kind: b2bua.EvOffered, Body: body})
	default:
		_ = l.ua.respond(tx, response(req, 200, "", nil, nil)) // logged there
	}
	if a == matchedAnswer {
		l.tell(b2bua.Event{Kind: b2bua.EvAgreed, Body: body})
	}
	l.goOn()
}

// hearLate keeps a leg that is refused for the PRACK of its last provisional response,
// which is on its way or was lost: it is to get a 2xx (RFC 3262 §3).
func (ua *Agent) hearLate(l *leg) {
	ua.mu.Lock()
	defer ua.mu.Unlock()
	if !l.inviteGone {
		ua.unheard[legKey{l.dlg.callID, l.dlg.localTag}] = l
	}
}

// heardLate reports whether a request is that PRACK. What it says of media is nobody's.
func (ua *Agent) heardLate(req *sip.Request, tag string) bool {
	if req.Method != sip.PRACK {
		return false
	}
	ua.mu.Lock()
	l := ua.unheard[legKey{string(*req.CallID()), tag}]
	ua.mu.Unlock()
	if l == nil || tagOf(req.From().Params) != l.dlg.remoteTag {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fits := l.rel.open != nil && acknowledges(value(req, "RAck"), l.rel.number, l.invite.Request().CSeq().SeqNo)
	if fits {
		l.rel.open = nil
	}
	return fits
}

// match finds the response that a PRACK means. The caller holds l.mu.
func (l *leg) match(tx *siptx.ServerTx, rack string, body []byte) acknowledgement {
	open := l.rel.open
	if open == nil || !acknowledges(rack, l.rel.number, l.invite.Request().CSeq().SeqNo) {
		return unmatched
	}
	l.rel.open = nil
	open.stop()
	described := len(open.res.Body()) > 0
	first := described && !l.rel.agreed
	if described {
		l.rel.agreed, l.session.said = true, open.res.Body()
	}
	switch {
	case body == nil:
		return matched
	case first && !l.rel.offered:
		return matchedAnswer
	case l.rel.agreed && !l.asked && l.phase == early:
		l.offer, l.asked = tx, true
		return matchedOffer
	}
	return matchedUnfit
}

// acknowledges reports whether a RAck names the response with this number to the
// INVITE with this CSeq (RFC 3262 §7.2).
func acknowledges(rack string, number, seq uint32) bool {
	f := strings.Fields(rack)
	return len(f) == 3 && isNumber(f[0], number) && isNumber(f[1], seq) && f[2] == string(sip.INVITE)
}

func isNumber(s string, n uint32) bool {
	v, err := strconv.ParseUint(s, 10, 32)
	return err == nil && uint32(v) == n
}

// goOn sends what waited for a PRACK, or for the answer to an offer in one.
func (l *leg) goOn() {
	l.mu.Lock()
	var next *numbered
	ready := l.phase == early && l.rel.open == nil
	answer := ready && l.rel.held && l.offer == nil
	if ready && !l.rel.held && len(l.rel.queue) > 0 {
		next = l.begin(l.rel.queue[0])
		l.rel.queue = l.rel.queue[1:]
	}
	if answer {
		l.rel.held = false
	}
	body := l.rel.answer
	l.mu.Unlock()
	switch {
	case next != nil:
		_ = l.ua.respond(l.invite, next.res) // logged there, and sent again
	case answer:
		l.accept(body)
	}
}

// hold keeps an answer back that must not be sent yet; the INVITE is still open, so
// the caller may yet cancel it. The caller holds l.mu.
func (l *leg) hold(body []byte) bool {
	if !l.rel.blocks() && !(l.rel.agreed && l.offer != nil) {
		return false
	}
	l.rel.held, l.rel.answer = true, body
	return true
}

// recalled takes a CANCEL for an INVITE whose answer is held back. It reports
// whether there was one; the call, which believes it answered, hears of the end.
func (l *leg) recalled() bool {
	l.mu.Lock()
	held := l.phase == early && l.rel.held
	l.hung = l.hung || held
	l.mu.Unlock()
	if held {
		l.tell(b2bua.Event{Kind: b2bua.EvHungUp})
	}
	return held
}
