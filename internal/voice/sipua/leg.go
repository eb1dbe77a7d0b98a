package sipua

import (
	"crypto/rand"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// phase of a leg's life.
type phase int

const (
	early    phase = iota // INVITE without final response
	answered              // our 2xx is out, its ACK is not in (incoming legs)
	talking               // dialog confirmed
	ending                // a final response, CANCEL or BYE of ours is under way
	gone
)

// leg is one dialog, made or being made. The call's goroutine calls its b2bua.Leg
// methods; siptx calls it from its readers and timers. mu guards what follows it
// and is never held while siptx or the inbox is called, since siptx may call back.
type leg struct {
	ua     *Agent
	trunk  masking.Trunk
	call   masking.CallID
	name   string // "a" or "b", for the log
	log    *slog.Logger
	watch  atomic.Pointer[watch]
	done   func()          // gives back what the leg holds of its trunk
	invite *siptx.ServerTx // incoming legs: the INVITE

	mu     sync.Mutex
	phase  phase
	dlg    dialog
	client *siptx.ClientTx // outgoing legs: the INVITE
	rang   bool
	ack    *sip.Request    // outgoing legs: the ACK, sent again for each further 2xx
	silent *time.Timer     // outgoing legs: runs until the first response
	offer  *siptx.ServerTx // the peer's offer within the dialog that waits for an answer
	again  *repeater       // our 2xx that waits for its ACK
	byeDue bool            // end as soon as the 2xx is acknowledged (RFC 3261 §15)
}

// watch is where a leg's events go and what must not be seen on it.
type watch struct {
	inbox  func(b2bua.Event)
	hidden e164.Finder
}

// dialog is the state of RFC 3261 §12.
type dialog struct {
	callID              string
	localTag, remoteTag string
	local, remote       sip.Uri
	seq, remoteSeq      uint32
	routes              []sip.Uri
	target              sip.Uri
	peer                siptx.Target // where its first message went to or came from
}

func newTag() string { return rand.Text()[:16] }

// Bind says where events go and which numbers are hidden (b2bua.Leg).
func (l *leg) Bind(inbox func(b2bua.Event), hidden []e164.Number) {
	l.watch.Store(&watch{inbox, e164.NewFinder(hidden...)})
}

func (l *leg) tell(e b2bua.Event) {
	if w := l.watch.Load(); w != nil {
		w.inbox(e)
	}
}

// leave ends the leg's life, once.
func (l *leg) leave() {
	l.mu.Lock()
	was := l.phase
	l.phase = gone
	again, silent := l.again, l.silent
	l.again = nil
	l.mu.Unlock()
	if was == gone {
		return
	}
	again.stop()
	if silent != nil {
		silent.Stop()
	}
	if l.done != nil {
		l.done()
	}
	l.ua.forget(l)
	l.tell(b2bua.Event{Kind: b2bua.EvGone})
}

// contact is our Contact on this leg.
func (l *leg) contact() *sip.ContactHeader {
	addr, _ := l.ua.tx.Advertise(l.dlg.peer.Network)
	return contactAt(addr, l.dlg.peer.Network)
}

// hop is where a request within the dialog goes: to the first route or the remote
// target where that is an address of the trunk, else to where the dialog came
// from. A Contact behind a NAT, or one that points at somebody else, is not followed.
func (l *leg) hop() siptx.Target {
	u := l.dlg.target
	if len(l.dlg.routes) > 0 {
		u = l.dlg.routes[0]
	}
	addr, err := netip.ParseAddr(trimBrackets(u.Host))
	if err != nil || !l.ours(addr) {
		return l.dlg.peer
	}
	port := u.Port
	if port <= 0 || port > 65535 {
		port = 5060
	}
	t := siptx.Target{Network: l.dlg.peer.Network, Addr: netip.AddrPortFrom(addr.Unmap(), uint16(port))}
	if tr, ok := u.UriParams.Get("transport"); ok && (tr == "tcp" || tr == "TCP") {
		t.Network = "tcp"
	}
	return t
}

// ours reports whether addr belongs to the leg's trunk.
func (l *leg) ours(addr netip.Addr) bool {
	if l.trunk.Admits(addr) {
		return true
	}
	for _, t := range l.trunk.Targets {
		if t.Addr().Unmap() == addr.Unmap() {
			return true
		}
	}
	return false
}

func trimBrackets(h string) string {
	if len(h) > 1 && h[0] == '[' && h[len(h)-1] == ']' {
		return h[1 : len(h)-1]
	}
	return h
}

// isPeer reports whether a request inside the dialog is the peer's.
func (l *leg) isPeer(req *sip.Request) bool {
	tag, _ := req.From().Params.Get("tag")
	l.mu.Lock()
	defer l.mu.Unlock()
	return tag == l.dlg.remoteTag && l.dlg.remoteTag != ""
}

// inOrder takes the next CSeq of the peer; an older one is refused (§12.2.2).
func (l *leg) inOrder(req *sip.Request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := req.CSeq().SeqNo
	if l.dlg.remoteSeq != 0 && seq <= l.dlg.remoteSeq {
		return false
	}
	l.dlg.remoteSeq = seq
	return true
}

// End ends the leg by whatever fits its phase (b2bua.Leg).
func (l *leg) End(why b2bua.Reason) {
	l.mu.Lock()
	was := l.phase
	switch was {
	case early:
		l.phase = ending
	case answered:
		l.byeDue = true
	case talking:
		l.phase = ending
	}
	client := l.client
	l.mu.Unlock()
	switch {
	case was == early && l.invite != nil:
		l.refuseInvite(why)
	case was == early && client != nil:
		l.cancelInvite(client)
	case was == talking:
		l.bye()
	}
}

// bye sends our BYE; the leg is gone with its final response or time-out.
func (l *leg) bye() {
	l.mu.Lock()
	l.phase = ending
	l.dlg.seq++
	req := l.dlg.within(sip.BYE, l.dlg.seq)
	hop, offer := l.hop(), l.offer
	l.offer = nil
	l.mu.Unlock()
	if offer != nil {
		l.ua.respond(offer, response(offer.Request(), 487, "Request Terminated", "", nil, nil))
	}
	_, err := l.ua.tx.Request(req, hop, func(o siptx.Outcome) {
		if o.Err != nil || o.Res.StatusCode >= 200 {
			l.leave()
		}
	})
	if err != nil {
		l.leave()
	}
}

// onBye ends the leg at the peer's wish.
func (l *leg) onBye(tx *siptx.ServerTx) {
	l.ua.respond(tx, response(tx.Request(), 200, "OK", "", nil, nil))
	l.mu.Lock()
	was, offer := l.phase, l.offer
	l.offer = nil
	l.mu.Unlock()
	if offer != nil {
		l.ua.respond(offer, response(offer.Request(), 487, "Request Terminated", "", nil, nil))
	}
	switch was {
	case early: // of an incoming leg: RFC 3261 §15.1.2, the INVITE gets 487 when the call ends
		l.tell(b2bua.Event{Kind: b2bua.EvHungUp})
	case answered, talking:
		l.tell(b2bua.Event{Kind: b2bua.EvHungUp})
		l.leave()
	}
}

// onOffer takes a re-INVITE or UPDATE to the call, one at a time.
func (l *leg) onOffer(tx *siptx.ServerTx, req *sip.Request) {
	body, ok := description(req)
	if !ok {
		l.ua.refuse(tx, 415, "Unsupported Media Type")
		return
	}
	l.mu.Lock()
	fits := l.phase == talking && l.offer == nil && l.again == nil
	if fits {
		if c := req.Contact(); c != nil {
			l.dlg.target = c.Address
		}
		l.offer = tx
	}
	l.mu.Unlock()
	if !fits {
		// RFC 3261 §14.2: 500 with a Retry-After of 0 to 10 s while an earlier one is
		// open, our own 2xx without ACK included.
		res := response(req, 500, "Server Internal Error", "", nil, nil)
		res.AppendHeader(sip.NewHeader("Retry-After", itoa(int(newTag()[0])%10+1)))
		l.ua.respond(tx, res)
		return
	}
	if req.Method == sip.UPDATE && body == nil {
		l.settle(200, "OK", nil)
		return
	}
	l.tell(b2bua.Event{Kind: b2bua.EvOffered, Body: body})
}

// settle answers the offer that waits, if one does.
func (l *leg) settle(status int, phrase string, body []byte) bool {
	l.mu.Lock()
	tx := l.offer
	l.offer = nil
	l.mu.Unlock()
	if tx == nil {
		return false
	}
	res := response(tx.Request(), status, phrase, "", l.contact(), body)
	if tx.Request().Method == sip.INVITE && status == 200 {
		l.repeat(tx, res)
	}
	l.ua.respond(tx, res)
	return true
}

// RefuseOffer refuses the offer that waits; the call stays as it was (b2bua.Leg).
func (l *leg) RefuseOffer() { l.settle(488, "Not Acceptable Here", nil) }

// Answer answers the INVITE of an incoming leg, or the offer that waits (b2bua.Leg).
func (l *leg) Answer(body []byte) {
	if !l.settle(200, "OK", body) && l.invite != nil {
		l.accept(body)
	}
}
