// Package sipua is the SIP side of a call: trunks by source, the dialogs of both
// legs, and the policy of what may stand in a message. It turns SIP into the
// neutral words of b2bua and back; beneath it siptx carries the messages.
package sipua

import (
	"bytes"
	"context"
	"errors"
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

// Options are what an Agent works with. Log, NewCallID and OnInvite are required.
type Options struct {
	Log       *slog.Logger
	Clock     func() time.Time // wall clock; nil = time.Now
	NewCallID func() masking.CallID
	OnInvite  func(b2bua.Invite) // takes an incoming call; must not block
	Draining  func() bool        // while true OPTIONS gets 503; nil = never
	Advertise netip.Addr         // what Via and Contact say; zero = the listening address
	Timers    siptx.Timers
	Trace     func(siptx.Traced) // sees every message; nil = none
	// Silence is how long a trunk may leave an INVITE without any response
	// before another is tried; 0 = 4 s.
	Silence time.Duration
}

// Agent speaks SIP with the trunks.
type Agent struct {
	o        Options
	tx       *siptx.Layer
	trunks   trunks
	blocked  atomic.Int64
	mu       sync.Mutex
	legs     map[legKey]*leg
	byCallID map[string][]*leg
	invites  map[*siptx.ServerTx]*leg
	empty    chan struct{} // closed and replaced whenever the last leg is gone
}

type legKey struct{ callID, localTag string }

// New makes an Agent without sockets or trunks; see Listen and SetTrunks.
func New(o Options) (*Agent, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Silence == 0 {
		o.Silence = 4 * time.Second
	}
	ua := &Agent{o: o, trunks: trunks{states: map[string]*trunkState{}}, legs: map[legKey]*leg{},
		byCallID: map[string][]*leg{}, invites: map[*siptx.ServerTx]*leg{}}
	var err error
	ua.tx, err = siptx.New(siptx.Options{Log: o.Log, Timers: o.Timers, Accept: ua.trunks.admits, Check: ua.check,
		Trace: o.Trace, Handler: ua, Advertise: o.Advertise})
	return ua, err
}

// Listen opens a socket, network "udp" or "tcp", and gives the address it got.
func (ua *Agent) Listen(network string, addr netip.AddrPort) (netip.AddrPort, error) {
	return ua.tx.Listen(network, addr)
}

// SetTrunks replaces the trunks. Calls that are up keep theirs.
func (ua *Agent) SetTrunks(list []masking.Trunk) { ua.trunks.table.Store(&list) }

// Outgoing are the ways out for a caller ID, in the order to try (b2bua.Trunks).
func (ua *Agent) Outgoing(callerID e164.Number) []b2bua.Trunk {
	return ua.trunks.outgoing(ua, callerID)
}

// TrunkHealth tells how a trunk does.
func (ua *Agent) TrunkHealth(name string) Health { return ua.trunks.state(name).health() }

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
// then closes the sockets.
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
	return ua.tx.Close()
}

func (ua *Agent) remember(l *leg) {
	ua.mu.Lock()
	defer ua.mu.Unlock()
	ua.legs[legKey{l.dlg.callID, l.dlg.localTag}] = l
	ua.byCallID[l.dlg.callID] = append(ua.byCallID[l.dlg.callID], l)
	if l.invite != nil {
		ua.invites[l.invite] = l
	}
}

func (ua *Agent) forget(l *leg) {
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

// errLeak is what the tripwire answers; it tells nothing of what it found.
var errLeak = errors.New("a hidden number stood in the message")

// check is the tripwire (calls.md §2): it sees every message before it is sent.
// On a hit the message is not sent, the call is ended and an alarm raised.
func (ua *Agent) check(callID string, raw []byte) error {
	ua.mu.Lock()
	legs := ua.byCallID[callID]
	ua.mu.Unlock()
	for _, l := range legs {
		w := l.watch.Load()
		if w == nil || !leaks(w.hidden, raw) {
			continue
		}
		ua.blocked.Add(1)
		ua.o.Log.Error("a message that would have shown a hidden number was stopped", "call", string(l.call), "leg", l.name)
		w.inbox(b2bua.Event{Kind: b2bua.EvBlocked})
		return errLeak
	}
	return nil
}

// leaks looks through what we wrote ourselves. What a message must repeat of the
// peer's own words (the headers of a dialog) goes back to its writer; looking
// there would let a caller test guesses of the hidden number.
func leaks(f e164.Finder, raw []byte) bool {
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	if f.Found(body) {
		return true
	}
	ours := bytes.HasPrefix(raw, []byte("INVITE ")) && !inDialog(head)
	for first := true; len(head) > 0; first = false {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\r\n"))
		if (ours || !(first || repeated(line))) && f.Found(line) {
			return true
		}
	}
	return false
}

func inDialog(head []byte) bool {
	i := bytes.Index(head, []byte("\r\nTo: "))
	if i < 0 {
		return false
	}
	line, _, _ := bytes.Cut(head[i+2:], []byte("\r\n"))
	return bytes.Contains(line, []byte(";tag="))
}

func repeated(line []byte) bool {
	for _, name := range []string{"Via:", "From:", "To:", "Call-ID:", "CSeq:", "Record-Route:", "Route:"} {
		if bytes.HasPrefix(line, []byte(name)) {
			return true
		}
	}
	return false
}

// OnStray gets responses that no transaction waits for; they are counted by siptx.
func (ua *Agent) OnStray(*sip.Response, netip.AddrPort) {}
