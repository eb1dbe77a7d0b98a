package sipua

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// This file sends re-INVITEs and UPDATEs within a dialog that is up (RFC 3261
// §14.1, RFC 3311 §5.1): offers that the call makes, and refreshes.

// mostTries bounds how often one proposal is sent while the peer wants to be asked
// again.
const mostTries = 4

// proposal is a re-INVITE or an UPDATE of ours.
type proposal struct {
	method sip.RequestMethod
	body   []byte // our offer; nil on an UPDATE that only refreshes
	// refresh: it only keeps the session alive; a re-INVITE repeats what was said last.
	refresh bool
	cause   masking.Cause // of the call's end if the peer is not there any more
	// over is told the final response, or an error if nothing was sent or the
	// connection broke: the session is as it was. It is told once, unless the
	// dialog ends first or the peer's own offer takes the place of ours.
	over func(*sip.Response, error)

	tries int
	made  *dialog     // as the 2xx found it, for the ACK of each
	limit *time.Timer // runs until the final response
	final bool        // its final response has come
}

// outbox is what a leg has to propose; leg.mu guards it.
type outbox struct {
	due   []*proposal // not sent, or to be sent again
	out   *proposal   // without final response
	pause *time.Timer // nothing is sent before it has run out
}

// Offer makes the peer an offer within the call (b2bua.Leg). It is always a
// re-INVITE: an UPDATE must be answered at once, without asking anybody, and
// RFC 3311 §5.1 recommends the re-INVITE in a confirmed dialog.
func (l *leg) Offer(body []byte) {
	l.propose(&proposal{method: sip.INVITE, body: body, cause: masking.CauseFailed, over: func(res *sip.Response, err error) {
		if err != nil {
			l.tell(b2bua.Event{Kind: b2bua.EvDeclined})
			return
		}
		if answer, _ := description(res); res.StatusCode/100 == 2 && answer != nil {
			l.tell(b2bua.Event{Kind: b2bua.EvAgreed, Body: answer})
			return
		}
		l.tell(b2bua.Event{Kind: b2bua.EvDeclined, Status: res.StatusCode})
	}})
}

// propose sends p as soon as nothing else is open in the dialog. An offer of the
// call's takes second place to one of the peer's that waits, as in yield.
func (l *leg) propose(p *proposal) {
	l.mu.Lock()
	over := l.phase == ending || l.phase == gone // of which the call is told
	if !over && (p.refresh || !l.asked) {
		l.due = append(l.due, p)
	}
	l.mu.Unlock()
	l.proceed()
}

// proceed sends what is due, unless something is open: an INVITE of either side
// without its ACK (RFC 3261 §14.1), an offer that has no answer (RFC 3264 §4).
func (l *leg) proceed() {
	l.mu.Lock()
	if len(l.due) == 0 || l.out != nil || l.pause != nil || l.phase != talking || l.asked || l.again != nil {
		l.mu.Unlock()
		return
	}
	p := l.due[0]
	l.due, l.out = l.due[1:], p
	l.dlg.seq++
	p.tries++
	p.made, p.final = nil, false
	req, hop := l.dlg.within(p.method, l.dlg.seq), l.dlg.hop(l.ours)
	if l.session.interval > 0 { // each of them refreshes the session
		l.session.ask(req, l.session.refresher())
	}
	if p.refresh && p.method == sip.INVITE {
		p.body = l.session.said
	}
	l.mu.Unlock()
	req.AppendHeader(l.contact())
	req.AppendHeader(sip.NewHeader("Allow", allowed))
	req.AppendHeader(sip.NewHeader("Supported", supported))
	if p.body != nil {
		ct := sdpType
		req.AppendHeader(&ct)
		req.SetBody(p.body)
	}
	q, err := l.ask(req, hop, func(o siptx.Outcome) { l.onProposed(p, o) })
	if err != nil {
		l.onProposed(p, siptx.Outcome{Err: err})
		return
	}
	l.hurry(p, q)
}

// hurry has a re-INVITE cancelled that is not answered in time, be its leg gone by
// then: without an end its transaction would wait for ever. Its final response comes
// all the same, be it 200, and is the end of it.
func (l *leg) hurry(p *proposal, q *question) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !p.final && p.method == sip.INVITE {
		p.limit = time.AfterFunc(l.ua.o.Thought, q.Cancel)
	}
}

// onProposed takes what a proposal brings.
func (l *leg) onProposed(p *proposal, o siptx.Outcome) {
	if o.Err == nil && o.Res.StatusCode < 200 {
		return
	}
	l.acknowledge(p, o)
	l.mu.Lock()
	p.final = true
	if p.limit != nil {
		p.limit.Stop()
	}
	first := l.out == p
	if first {
		l.out = nil
	}
	up := l.phase == talking
	wait, again := time.Duration(0), false
	if first && up && o.Err == nil && p.tries < mostTries {
		wait, again = askAgain(o.Res, !l.incoming)
	}
	if again {
		l.due = slices.Insert(l.due, 0, p)
		l.pause = time.AfterFunc(wait, l.resume)
	}
	l.mu.Unlock()
	switch {
	case !first || again || !up:
		return
	case errors.Is(o.Err, siptx.ErrTimeout), o.Err == nil && (o.Res.StatusCode == 408 || o.Res.StatusCode == 481):
		l.tell(b2bua.Event{Kind: b2bua.EvHungUp, Cause: p.cause}) // before the answer to our BYE tells that the leg is gone
		l.bye()                                                   // RFC 3261 §12.2.1.2
		return
	}
	p.over(o.Res, o.Err)
	l.proceed()
}

// acknowledge takes the new target of a 2xx and sends an ACK for each 2xx to an
// INVITE, even when the dialog ends already (RFC 3261 §13.2.2.4, §14.1).
func (l *leg) acknowledge(p *proposal, o siptx.Outcome) {
	if o.Err != nil || o.Res.StatusCode/100 != 2 {
		return
	}
	l.mu.Lock()
	if p.made == nil {
		if c := o.Res.Contact(); reachable(c) {
			l.dlg.target = c.Address
		}
		l.dlg.learn(o.Res)
		if p.body != nil {
			l.session.said = p.body
		}
		if l.phase == talking {
			l.granted(o.Res)
		}
		made := l.dlg
		p.made = &made
	}
	made := *p.made
	l.mu.Unlock()
	if p.method == sip.INVITE {
		l.sendAck(made, o.Res)
	}
}

// resume goes on when a pause is over.
func (l *leg) resume() {
	l.mu.Lock()
	l.pause = nil
	l.mu.Unlock()
	l.proceed()
}

// yield drops our offers that have not been sent: the peer makes one. The call
// hears of that one, and not of ours any more. The caller holds l.mu.
func (l *leg) yield() {
	l.due = slices.DeleteFunc(l.due, func(p *proposal) bool { return !p.refresh })
	if len(l.due) == 0 && l.pause != nil {
		l.pause.Stop()
		l.pause = nil
	}
}

// drop forgets all proposals when the leg is gone. The caller holds l.mu.
func (b *outbox) drop() {
	if b.pause != nil {
		b.pause.Stop()
	}
	*b = outbox{}
}

// clashes reports whether a re-INVITE or UPDATE of the peer meets one of ours that
// is not answered (RFC 3261 §14.2, RFC 3311 §5.2). The caller holds l.mu.
func (b *outbox) clashes(method sip.RequestMethod, offers bool) bool {
	if b.out == nil {
		return false
	}
	return method == sip.INVITE && b.out.method == sip.INVITE || (offers || method == sip.INVITE) && b.out.body != nil
}

// askAgain reports whether a refusal means that the same may be asked later, and
// how much later: 491 because both sides asked at once, 500 because something was
// open over there (RFC 3261 §14.2). owner is who chose the dialog's Call-ID.
func askAgain(res *sip.Response, owner bool) (wait time.Duration, again bool) {
	switch res.StatusCode {
	case 491:
		return glareWait(owner), true
	case 500:
		after := value(res, "Retry-After") // a comment or parameters may follow the seconds
		seconds, err := strconv.Atoi(after[:len(after)-len(strings.TrimLeft(after, "0123456789"))])
		return time.Duration(seconds) * time.Second, err == nil && seconds >= 0 && seconds <= 10
	}
	return 0, false
}

// glareWait is how long to wait after a 491, in units of 10 ms: 2.1 to 4 s for who
// chose the Call-ID, else up to 2 s (RFC 3261 §14.1).
func glareWait(owner bool) time.Duration {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	n := binary.BigEndian.Uint64(b[:])
	if owner {
		return time.Duration(210+n%191) * 10 * time.Millisecond
	}
	return time.Duration(n%201) * 10 * time.Millisecond
}
