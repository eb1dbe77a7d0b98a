package sipua

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/sdp"
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
	ua       *Agent
	trunk    line
	call     masking.CallID
	name     string // "a" or "b", for the log
	incoming bool   // the peer called
	log      *slog.Logger
	watch    atomic.Pointer[watch] // stored with mu held
	done     func()                // gives back what the leg holds of its trunk
	invite   *siptx.ServerTx       // incoming legs: the INVITE; nil after a restart
	origin   siptx.Target          // where the INVITE came from or went to
	rung     *rung                 // in the call's ladder; never changes

	refused bool    // incoming legs: by us; its ACK may still come. Set before leave
	sips    bool    // incoming legs: our Contact must be a sips URI
	wallet  *wallet // answers the challenges of the far side

	mu      sync.Mutex
	phase   phase
	dlg     dialog        // callID and localTag never change
	unread  []b2bua.Event // told before anybody was bound to hear it
	client  *question     // outgoing legs: the INVITE
	heard   bool          // outgoing legs: a response has come
	rang    bool
	early   []earlyDialog   // outgoing legs
	made    *dialog         // outgoing legs: as the 2xx made it, for the ACK of each further one
	forks   []string        // outgoing legs: remote tags of further dialogs, hung up
	silent  *time.Timer     // outgoing legs: runs until the first response
	hung    bool            // the peer has sent BYE before our answer
	asked   bool            // the call owes the answer to an offer
	offer   *siptx.ServerTx // the peer's offer within the dialog; nil when it was withdrawn
	again   *unacked        // our 2xx that waits for its ACK
	rel     reliable        // incoming legs: what goes out before the answer
	byeDue  bool            // end as soon as the 2xx is acknowledged (RFC 3261 §15)
	session session
	outbox

	inviteGone bool // incoming legs: its transaction is; guarded by the agent's mu
}

// watch is where a leg's events go and what must not be seen on it.
type watch struct {
	inbox  func(b2bua.Event)
	hidden e164.Finder
}

// Bind says where events go and which numbers are hidden (b2bua.Leg). What has
// happened before is told at once.
func (l *leg) Bind(inbox func(b2bua.Event), hidden []e164.Number) {
	w := &watch{inbox, e164.NewFinder(hidden...)}
	l.mu.Lock()
	l.watch.Store(w)
	unread := l.unread
	l.unread = nil
	l.mu.Unlock()
	for _, e := range unread {
		inbox(e)
	}
}

// tell puts an event into the call's inbox. The few that can come before the call
// is bound wait for it.
func (l *leg) tell(e b2bua.Event) {
	l.mu.Lock()
	switch {
	case e.Body == nil:
	case e.Kind == b2bua.EvOffered:
		l.session.offered = sdp.Sum(e.Body)
	default:
		l.session.theirs = sdp.Sum(e.Body)
	}
	w := l.watch.Load()
	if w == nil {
		l.unread = append(l.unread, e)
	}
	l.mu.Unlock()
	if w != nil {
		w.inbox(e)
	}
}

// leave ends the leg's life, once.
func (l *leg) leave() {
	l.mu.Lock()
	was := l.phase
	l.phase = gone
	again, silent, offer, open := l.again, l.silent, l.offer, l.rel.open
	l.again, l.offer = nil, nil
	l.drop()
	l.session.stop()
	l.mu.Unlock()
	if was == gone {
		return
	}
	again.stop()
	open.stop()
	if silent != nil {
		silent.Stop()
	}
	l.terminated(offer)
	if l.done != nil {
		l.done()
	}
	l.ua.forget(l)
	l.tell(b2bua.Event{Kind: b2bua.EvGone})
}

// terminated answers a request that is open when its dialog ends (RFC 3261 §15.1.2).
func (l *leg) terminated(tx *siptx.ServerTx) {
	if tx != nil {
		_ = l.ua.respond(tx, response(tx.Request(), 487, l.dlg.localTag, nil, nil))
	}
}

// contact is our Contact on this leg: a sips URI if the peer wants one.
func (l *leg) contact() *sip.ContactHeader {
	c := l.ua.contact(l.origin)
	if l.sips {
		c.Address.Scheme, c.Address.UriParams = "sips", nil
	}
	return c
}

// ours reports whether addr belongs to the leg's trunk.
func (l *leg) ours(addr netip.Addr) bool { return l.trunk.owns(addr) }

// inDialog reports whether a request with our tag is the peer's, and in which
// dialog: the one that the leg has, or on an outgoing leg that is not answered one
// that a provisional response made. A peer that writes no tag has the empty one
// (RFC 3261 §12.1.1). The caller holds l.mu.
func (l *leg) inDialog(req *sip.Request) (seq *sequence, confirmed bool) {
	tag := tagOf(req.From().Params)
	if l.invite == nil && l.made == nil {
		if e := l.earlyDialog(tag); e != nil {
			return &e.dlg.remoteSeq, false
		}
		return nil, false
	}
	if tag != l.dlg.remoteTag {
		return nil, false
	}
	return &l.dlg.remoteSeq, true
}

// isPeer reports whether a message with our tag is of the leg's confirmed dialog.
func (l *leg) isPeer(req *sip.Request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, confirmed := l.inDialog(req)
	return confirmed
}

// standing is what a leg finds of a request inside its dialog.
type standing int

const (
	foreign   standing = iota // not of this dialog: 481
	stale                     // CSeq out of order: 500
	premature                 // of a dialog that no 2xx has made yet
	current
)

// place finds where a request stands and takes its CSeq.
func (l *leg) place(req *sip.Request) standing {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq, confirmed := l.inDialog(req)
	switch {
	case seq == nil || l.phase == gone:
		return foreign
	case !seq.take(req.CSeq().SeqNo):
		return stale
	case !confirmed:
		return premature
	}
	return current
}

// End ends the leg by whatever fits its phase (b2bua.Leg).
func (l *leg) End(why b2bua.Reason) {
	l.mu.Lock()
	was, client := l.phase, l.client
	switch was {
	case early:
		l.phase = ending
	case answered:
		l.byeDue = true
	}
	l.mu.Unlock()
	switch {
	case was == early && l.invite != nil:
		l.refuseInvite(why)
	case was == early && client != nil:
		client.Cancel()
	case was == talking:
		l.bye()
	}
}

// Abandon ends the leg here alone (b2bua.Leg).
func (l *leg) Abandon() { l.leave() }

// bye sends our BYE; the leg is gone with its final response or time-out. Where
// the peer's BYE has come first there is nothing to end. A re-INVITE of ours that
// is out is not waited for: the peer answers it with 487 (RFC 3261 §15.1.2), and a
// 2xx that crosses the BYE gets its ACK.
func (l *leg) bye() {
	l.mu.Lock()
	if l.phase != answered && l.phase != talking {
		l.mu.Unlock()
		return
	}
	l.phase = ending
	l.dlg.seq++
	req := l.dlg.within(sip.BYE, l.dlg.seq)
	hop, offer, again := l.dlg.hop(l.ours), l.offer, l.again
	l.offer, l.again = nil, nil
	l.mu.Unlock()
	again.stop()
	l.terminated(offer)
	_, err := l.ask(req, hop, func(o siptx.Outcome) {
		if o.Err != nil || o.Res.StatusCode >= 200 {
			l.leave()
		}
	})
	if err != nil {
		l.log.Debug("bye not sent", "error", err.Error())
		l.leave()
	}
}

// onBye ends the leg at the peer's wish. One that comes while our own BYE is under
// way changes nothing.
func (l *leg) onBye(tx *siptx.ServerTx) {
	_ = l.ua.respond(tx, response(tx.Request(), 200, "", nil, nil))
	l.mu.Lock()
	was, again := l.phase, l.hung
	l.hung = l.hung || was == early
	if was == answered || was == talking {
		l.phase = ending // before the call hears of it and ends its legs: this one needs no BYE of ours
	}
	l.mu.Unlock()
	switch {
	case was == early && !again: // of an incoming leg: RFC 3261 §15.1.2, the INVITE gets 487 when the call ends
		l.tell(b2bua.Event{Kind: b2bua.EvHungUp})
	case was == answered || was == talking:
		l.tell(b2bua.Event{Kind: b2bua.EvHungUp})
		l.leave()
	}
}
