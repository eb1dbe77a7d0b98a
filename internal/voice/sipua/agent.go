// Package sipua is the SIP side of a call: trunks by source, the dialogs of both
// legs, and the policy of what may stand in a message. It turns SIP into the
// neutral words of b2bua and back; beneath it siptx carries the messages.
package sipua

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/quota"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/locate"
	"tandem/internal/voice/siptx"
)

// Options are what an Agent works with. Log, NewCallID and OnInvite are required.
type Options struct {
	Log       *slog.Logger
	Clock     func() time.Time // wall clock; nil = time.Now
	NewCallID func() masking.CallID
	OnInvite  func(b2bua.Invite) // takes an incoming call; must not block
	Draining  func() bool        // while true OPTIONS gets 503; nil = never
	Node      string             // what other nodes ask for; "" = none do
	Advertise []netip.Addr       // what Via and Contact say, one of a family; else the listening address
	Timers    siptx.Timers
	Ladders   *Ladders           // nil = of its own, for nobody
	Trace     func(siptx.Traced) // sees every message; nil = none
	// Credentials are those of SIP over TLS; nil = it is not spoken.
	Credentials func() *siptx.Credentials
	// Export sees every message and the call that it is of, "" if none is known. It
	// must not block. nil = none.
	Export func(siptx.Traced, masking.CallID)
	// Silence is how long a trunk may leave an INVITE without any response
	// before another is tried; 0 = 4 s.
	Silence time.Duration
	// Second is how long a second of Session-Expires lasts (RFC 4028); 0 = 1 s.
	Second time.Duration
	// Thought is how long a peer may take over a re-INVITE of ours before it is
	// cancelled: somebody waits for his answer, and phones give up after 32 s.
	// 0 = 10 s.
	Thought time.Duration
	// Password gives that of a trunk's credentials; nil = there is none.
	Password func(masking.Trunk) (string, error)
	// Find asks DNS for the servers of a name; nil = names lead nowhere.
	Find func(context.Context, locate.Query) (locate.Found, error)
	// Lookups says how often DNS is asked.
	Lookups locate.Timing
	// Quota keeps the trunks' limits for all nodes together; nil = this one is alone.
	Quota *quota.Quota
}

// largestOverUDP is the longest request that goes over UDP where TCP can be had: what
// is longer may be fragmented, and fragments get lost (RFC 3261 §18.1.1).
const largestOverUDP = 1300

// Agent speaks SIP with the trunks.
type Agent struct {
	o       Options
	key     []byte // of the tags of outgoing legs; see tagFor
	tx      *siptx.Layer
	trunks  trunks
	guests  guests
	fellows fellows
	keepers keepers
	blocked atomic.Int64
	traffic traffic
	lookups lookups

	mu        sync.Mutex // guards what follows; nothing is called while it is held
	listening []listening
	legs      map[legKey]*leg
	byCallID  map[string][]*leg
	invites   map[*siptx.ServerTx]*leg
	unheard   map[legKey]*leg // refused before a PRACK came, as long as their INVITEs are there
	empty     chan struct{}   // made by Close, closed when the last leg is gone
}

// listening is one socket, as a Contact names it.
type listening struct {
	network string
	addr    netip.AddrPort
}

type legKey struct{ callID, localTag string }

// New makes an Agent without sockets or trunks; see Listen and SetTrunks.
func New(o Options) (*Agent, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Ladders == nil {
		o.Ladders = NewLadders(nil)
	}
	if o.Silence == 0 {
		o.Silence = 4 * time.Second
	}
	if o.Second == 0 {
		o.Second = time.Second
	}
	if o.Thought == 0 {
		o.Thought = 10 * time.Second
	}
	if o.Quota == nil {
		o.Quota = quota.New(nil, o.Log)
	}
	ua := &Agent{o: o, key: make([]byte, sha256.Size), guests: guests{of: map[netip.Prefix]int{}}, trunks: trunks{states: map[string]*trunkState{}, draw: mathrand.IntN, quota: o.Quota}, legs: map[legKey]*leg{},
		byCallID: map[string][]*leg{}, invites: map[*siptx.ServerTx]*leg{}, unheard: map[legKey]*leg{}}
	_, _ = rand.Read(ua.key) // never fails (crypto/rand)
	var err error
	ua.tx, err = siptx.New(siptx.Options{Log: o.Log, Timers: o.Timers, Accept: ua.admits, Check: ua.check,
		Trace: ua.trace, Handler: ua, Advertise: o.Advertise, Credentials: o.Credentials, MaxUDPRequest: largestOverUDP})
	return ua, err
}

// Listen opens a socket, network "udp", "tcp" or "tls", and gives the address it got.
func (ua *Agent) Listen(network string, addr netip.AddrPort) (netip.AddrPort, error) {
	at, err := ua.tx.Listen(network, addr)
	if err != nil {
		return at, err
	}
	named := at
	for _, a := range ua.o.Advertise {
		if a.Unmap().Is4() == at.Addr().Is4() {
			named = netip.AddrPortFrom(a.Unmap(), at.Port())
		}
	}
	ua.mu.Lock()
	defer ua.mu.Unlock()
	ua.listening = append(ua.listening, listening{network, named})
	return at, nil
}

// Reached are the addresses where requests reach us, as our Contacts name them:
// "udp://192.0.2.1:5060".
func (ua *Agent) Reached() (list []string) {
	ua.mu.Lock()
	defer ua.mu.Unlock()
	for _, l := range ua.listening {
		list = append(list, l.network+"://"+l.addr.String())
	}
	return list
}

// contact is our Contact for a peer: the first socket of its transport and
// address family, else the nearest there is. A trunk may be reached over TCP by
// an agent that takes no TCP connections in; its requests come over UDP then.
func (ua *Agent) contact(peer siptx.Target) *sip.ContactHeader {
	ua.mu.Lock()
	defer ua.mu.Unlock()
	var best listening
	rank := -1
	for _, l := range ua.listening {
		fit := 0
		if l.network == peer.Network {
			fit += 2
		}
		if l.addr.Addr().Is4() == peer.Addr.Addr().Unmap().Is4() {
			fit++
		}
		if fit > rank {
			best, rank = l, fit
		}
	}
	return contactAt(best.addr, best.network)
}

// tagFor is our tag on an outgoing leg. It is computed from the Call-ID, so that
// a response that comes when the leg is forgotten shows that its INVITE was ours.
func (ua *Agent) tagFor(callID string) string {
	mac := hmac.New(sha256.New, ua.key)
	_, _ = mac.Write([]byte(callID)) // never fails (hash.Hash)
	return hex.EncodeToString(mac.Sum(nil)[:10])
}

// SetTrunks replaces the trunks. Calls that are up keep theirs.
func (ua *Agent) SetTrunks(list []masking.Trunk) {
	before := ua.trunks.all()
	for _, t := range list {
		warned := func(b line) bool { return b.Name == t.Name && b.BaresKeys() }
		if t.BaresKeys() && !slices.ContainsFunc(before, warned) {
			ua.o.Log.Warn("keys of SRTP can be read by whoever sees the signalling: the trunk is not over TLS", "trunk", t.Name)
		}
	}
	ua.trunks.set(list)
	ua.keepers.mu.Lock()
	defer ua.keepers.mu.Unlock()
	ua.keepers.adjust(ua, ua.trunks.all())
}

// Outgoing are the ways out for a caller ID, in the order to try (b2bua.Trunks).
func (ua *Agent) Outgoing(callerID e164.Number) []b2bua.Trunk {
	return ua.trunks.outgoing(ua, callerID)
}

// WaysOut tells what Outgoing would give now, and what it would leave out and why.
// It tries nothing. Of trunks that share their calls by weight it gives one order of
// many.
func (ua *Agent) WaysOut(callerID e164.Number) []masking.WayOut {
	return ua.trunks.waysOut(callerID, time.Now())
}

// StatusOf is the SIP status of a call that is refused.
func StatusOf(why masking.Refusal) int {
	return statusFor(b2bua.Reason{Cause: masking.CauseRejected, Refusal: why})
}

// Blocked is how many messages the tripwire has stopped.
func (ua *Agent) Blocked() int64 { return ua.blocked.Load() }

// Stats are those of the transaction layer.
func (ua *Agent) Stats() siptx.Stats { return ua.tx.Stats() }

// Legs is how many legs are up.
func (ua *Agent) Legs() int {
	ua.mu.Lock()
	defer ua.mu.Unlock()
	return len(ua.legs)
}

// Close waits until the last messages of all legs are through or ctx is done,
// then closes the sockets. A leg that is left then is gone.
func (ua *Agent) Close(ctx context.Context) error {
	ua.mu.Lock()
	var empty chan struct{}
	if len(ua.legs) > 0 {
		empty = make(chan struct{})
		ua.empty = empty
	}
	ua.mu.Unlock()
	if empty != nil {
		select {
		case <-empty:
		case <-ctx.Done():
		}
	}
	ua.Drain()
	err := ua.tx.Close()
	for _, l := range ua.left() {
		l.leave()
	}
	return err
}

func (ua *Agent) left() []*leg {
	ua.mu.Lock()
	defer ua.mu.Unlock()
	return slices.Collect(maps.Values(ua.legs))
}

// admits is the gate of the sockets. Besides the trunks' sources it lets in the
// addresses that we send to, for their answers, and the peers of legs that are up,
// whose trunk may have been changed or removed meanwhile.
func (ua *Agent) admits(addr netip.Addr) bool {
	addr = addr.Unmap()
	return ua.isPeer(addr) || ua.fellows.knows(addr)
}

// isPeer reports whether an address is one that calls may come from or go to.
func (ua *Agent) isPeer(addr netip.Addr) bool { return ua.trunks.knows(addr) || ua.guests.admits(addr) }

func (ua *Agent) remember(l *leg) {
	ua.guests.change(l, 1)
	var begun *story
	if l.invite != nil {
		begun, _ = l.invite.Note.(*story)
	}
	l.rung = ua.o.Ladders.join(begun, l.call, l.dlg.callID, l.dlg.localTag, l.trunk.Name, l.origin.Network)
	ua.mu.Lock()
	defer ua.mu.Unlock()
	ua.legs[legKey{l.dlg.callID, l.dlg.localTag}] = l
	ua.byCallID[l.dlg.callID] = append(ua.byCallID[l.dlg.callID], l)
	if l.invite != nil {
		ua.invites[l.invite] = l
	}
}

func (ua *Agent) forget(l *leg) {
	ua.guests.change(l, -1)
	ua.o.Ladders.leave(l.rung, l.dlg.callID, l.refused)
	ua.mu.Lock()
	defer ua.mu.Unlock()
	delete(ua.legs, legKey{l.dlg.callID, l.dlg.localTag})
	delete(ua.invites, l.invite)
	rest := ua.byCallID[l.dlg.callID][:0:0]
	for _, other := range ua.byCallID[l.dlg.callID] {
		if other != l {
			rest = append(rest, other)
		}
	}
	if len(rest) == 0 {
		delete(ua.byCallID, l.dlg.callID)
	} else {
		ua.byCallID[l.dlg.callID] = rest
	}
	if len(ua.legs) == 0 && ua.empty != nil {
		close(ua.empty)
		ua.empty = nil
	}
}

func (ua *Agent) find(callID, localTag string) *leg {
	ua.mu.Lock()
	defer ua.mu.Unlock()
	return ua.legs[legKey{callID, localTag}]
}
