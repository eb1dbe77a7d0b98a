package b2bua

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"net/netip"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

// This file lets a call that talks outlive the process: what it takes
// is written at the answer and at each change, and at the next start the call goes on
// where it was, once both sides have said that they are still there.

// CallState is what it takes to take a call up again that talks, besides its record
// and what is read of its allocation: plain data.
type CallState struct {
	Version  int                `json:"v"`
	Received time.Time          `json:"received"` // to the nanosecond: the ids of sessions are made of it
	Taken    bool               `json:"taken,omitempty"`
	Sides    [2]SideState       `json:"sides"`
	Legs     [2]json.RawMessage `json:"legs"`
	Media    json.RawMessage    `json:"media"`
}

// SideState is what one side and we have told each other about media.
type SideState struct {
	Theirs  *sdp.Description `json:"theirs"`
	Sent    string           `json:"sent"`              // ours that holds
	Refused string           `json:"refused,omitempty"` // ours that was made last, if it was refused
	Version uint64           `json:"version,omitempty"`
	Wish    sdp.Direction    `json:"wish"`
	Numbers sdp.Numbers      `json:"numbers"`
	Profile sdp.Profile      `json:"profile,omitempty"`
	// The keys of SRTP, ours and those in Theirs, which hide from encoders.
	OurKeys   [][]byte `json:"our_keys,omitempty"`
	TheirKeys [][]byte `json:"their_keys,omitempty"`
}

// state is what is kept of a side.
func (n *negotiated) state() SideState {
	st := SideState{Theirs: n.theirs, Sent: string(n.said), Version: n.version, Wish: n.wish, Numbers: n.numbers, Profile: n.profile}
	if !bytes.Equal(n.sent, n.said) {
		st.Refused = string(n.sent)
	}
	if ours, _ := n.ours.Audio(); len(ours.Crypto) > 0 && n.keys != nil {
		for _, k := range n.keys {
			st.OurKeys = append(st.OurKeys, k)
		}
	}
	for _, m := range n.theirs.Media {
		for _, c := range m.Crypto {
			st.TheirKeys = append(st.TheirKeys, c.Key)
		}
	}
	return st
}

// negotiated is what a state says.
func (st SideState) negotiated() (n negotiated, err error) {
	n = negotiated{theirs: st.Theirs, sent: []byte(cmp.Or(st.Refused, st.Sent)), version: st.Version, wish: st.Wish, numbers: st.Numbers, profile: st.Profile}
	if len(st.OurKeys) > 0 {
		n.keys = &sdp.Keys{}
		for i := range min(len(n.keys), len(st.OurKeys)) {
			n.keys[i] = st.OurKeys[i]
		}
	}
	rest := st.TheirKeys
	for i := range n.theirs.Media {
		for j := range n.theirs.Media[i].Crypto {
			if len(rest) > 0 {
				n.theirs.Media[i].Crypto[j].Key, rest = rest[0], rest[1:]
			}
		}
	}
	n.said = []byte(st.Sent)
	n.ours, err = sdp.Parse(n.said)
	return n, err
}

// stateVersion is that of CallState and of what is in it. A state of another version
// is not read: its call ends.
const stateVersion = 1

// ReadState reads a state that was kept.
func ReadState(b []byte) (st CallState, err error) {
	if err := json.Unmarshal(b, &st); err != nil {
		return st, errors.New("the state of a call cannot be read")
	}
	if st.Version != stateVersion || st.Sides[A].Theirs == nil || st.Sides[B].Theirs == nil {
		return st, errors.New("the state of a call is of another version")
	}
	return st, nil
}

// openState is a CallState before it is encoded. Nothing of it changes any more.
type openState struct {
	CallState
	Legs  [2]any `json:"legs"`
	Media any    `json:"media"`
}

func (st openState) encode() ([]byte, error) { return json.Marshal(st) }

// kept is the state of the call as it is; ok is false where a leg does not talk.
func (c *call) kept() (st openState, ok bool) {
	st.CallState = CallState{Version: stateVersion, Received: c.in.Received, Taken: c.taken}
	st.Media = c.media.State()
	for _, s := range []Side{A, B} {
		n := &c.sides[s]
		if st.Legs[s] = c.leg(s).State(); st.Legs[s] == nil || n.theirs == nil { // he says with his ACK what he can do
			return st, false
		}
		st.Sides[s] = n.state()
	}
	return st, true
}

// change notes that what is kept is not true any more.
func (c *call) change() { c.unkept, c.unheard = true, time.Now() }

// locate has the call kept once more when both sides have been heard since it was:
// by where they send from strangers are told from them after a restart.
func (c *call) locate(heard [2]time.Time) {
	if !c.unheard.IsZero() && heard[A].After(c.unheard) && heard[B].After(c.unheard) {
		c.unkept, c.unheard = true, time.Time{}
	}
}

// keep lets the journal keep the call's state if it has changed.
func (c *call) keep() {
	if c.state != Talking || !c.unkept {
		return
	}
	c.unkept = false
	if st, ok := c.kept(); ok {
		c.x.o.Journal.Keep(c.record, st.encode)
	}
}

// Resumed is a call of an earlier process, or of another node.
type Resumed struct {
	Call    masking.Call
	Plan    masking.Plan
	State   CallState
	Legs    [2]Leg
	Media   Session   // nil: its ports are gone, or nobody can be there any more; it will be ended
	Until   time.Time // by the wall clock: when the last process was still there; to then a call without Media has talked
	Release func()    // gives back what the call holds
}

// Resume goes on with a call and gives the state to keep of it before anything is
// sent. Both sides are asked whether they are still there when Verify is called. It
// refuses a call of which a description cannot be read. Resume and Verify may be called
// by one goroutine at a time.
func (x *Exchange) Resume(r Resumed) (state []byte, err error) {
	c := newCall(x, Invite{Ask: masking.Ask{Call: r.Call.ID, Called: r.Call.VirtualNumber, Caller: r.Call.Caller,
		Received: r.State.Received}, Leg: r.Legs[A]})
	c.record, c.plan, c.release, c.alive = r.Call, r.Plan, r.Release, r.Until
	c.log = c.log.With("tenant", string(r.Call.Tenant), "allocation", string(r.Call.Allocation))
	for s, st := range r.State.Sides {
		if c.sides[s], err = st.negotiated(); err != nil {
			return nil, err
		}
	}
	c.media, c.taken, c.rang = r.Media, r.State.Taken, true
	if c.media == nil {
		c.media, c.cut = noMedia{r.State.Media}, true
	} else if err := c.relocate(); err != nil {
		c.disarm()
		return nil, err
	}
	c.rejoin(r.Legs[B])
	return x.readmit(c)
}

// relocate makes the descriptions that the sides have of us ones of where the media is,
// if that is another place than they were told: that of the call's node, which is dead.
// Both sides have to agree to it then. They are made before the state is written, which
// is true of the media from then on.
func (c *call) relocate() error {
	for _, s := range []Side{A, B} {
		ours := c.sides[s].ours
		audio, _ := ours.Audio()
		if audio.Addr == c.media.Local(s) {
			continue
		}
		c.moved = true
		if _, err := c.say(s, func(l sdp.Local) ([]byte, error) { return sdp.Reoffer(ours, audio, l), nil }); err != nil {
			return err
		}
	}
	return nil
}

var errCannotGoOn = errors.New("the call cannot go on")

// readmit lets a call in that talks; a fault ends it before it was there.
func (x *Exchange) readmit(c *call) (state []byte, err error) {
	st, ok := c.kept()
	if ok {
		state, err = st.encode()
	}
	if err != nil || !ok || !x.book.enter(c) {
		c.disarm()
		return nil, cmp.Or(err, errCannotGoOn)
	}
	x.book.routed(c, c.record.Allocation)
	x.resumed = append(x.resumed, c)
	return state, nil
}

// rejoin makes a call that was read one that talks.
func (c *call) rejoin(callee Leg) {
	c.won = &branch{target: c.record.Callee, attempt: 1, leg: callee}
	for i, a := range c.record.Attempts {
		if a.Answered {
			c.won.entry = i
		}
	}
	c.b, c.attempt, c.up[end{B, 1}] = callee, 1, struct{}{}
	c.in.Leg.Bind(c.line.tell, c.hiddenFrom(c.plan.Caller))
	callee.Bind(c.from(B, 1), c.hiddenFrom(c.record.Callee))
	// Between two processes there is but the wall clock.
	now, wall := time.Now(), c.x.o.Clock()
	c.began = now.Add(-max(0, wall.Sub(c.record.StartedAt)))
	c.answeredAt = now.Add(-max(0, wall.Sub(c.record.AnsweredAt)))
	c.quiet, c.state, c.doubted = now, Talking, [2]bool{true, true}
	c.repoint()
	c.unkept = false
	if !c.cut {
		c.arm(EvMediaCheck, c.x.o.Timing.MediaChecks)
		c.bound()
	}
}

// verifyEvery lets a node that had a thousand calls ask their sides one call after
// the other, within 20 s.
const verifyEvery = 20 * time.Millisecond

// moveWithin is how long the sides of a call of another node may take to agree to go
// on here: they have heard nothing since it died.
const moveWithin = 5 * time.Second

// Verify lets the calls that were resumed since ask their sides whether they are still
// there, and ends those that cannot go on. It is called when messages can be sent.
func (x *Exchange) Verify() {
	for i, c := range x.resumed {
		c.arm(EvVerify, time.Duration(i)*verifyEvery) // its goroutine does not run yet
		go func() {
			defer x.leave(c)
			defer c.rescue()
			c.run()
		}()
	}
	x.resumed = nil
}

// verify asks both sides, by an offer of what they have, whether they are still there.
// Its answer also tells what a side has changed while nobody heard it.
func (c *call) verify() State {
	switch {
	case c.cut, c.hurry && c.doubted != [2]bool{}:
		return c.lose()
	case c.hurry:
		return Talking
	case c.moved:
		c.hurry = true
		c.arm(EvVerify, moveWithin)
	}
	c.asking = true
	return Talking
}

// lose ends a call that cannot go on.
func (c *call) lose() State {
	c.finish(masking.CauseNodeLost, Reason{Cause: masking.CauseNodeLost})
	return Ending
}

// refusesMove reports whether e is the refusal of a side to go on here.
func (c *call) refusesMove(e Event) bool {
	return c.moved && e.Kind == EvDeclined && c.doubted[e.Side]
}

// letGo ends the call here, which goes on elsewhere.
func (c *call) letGo() State {
	c.finished = true
	c.disarm()
	c.contain(c.release)
	c.contain(c.in.Leg.Abandon)
	c.contain(c.b.Abandon)
	c.contain(c.closeMedia)
	c.log.Warn("another node has taken the call up")
	return Ending
}

// inquire asks the next side that is to be asked, as soon as no offer is open. When
// both have been, each is told what the other has changed while nobody heard it.
func (c *call) inquire() {
	if c.state != Talking || !c.asking || !c.deal.quiet() {
		return
	}
	for _, s := range []Side{A, B} {
		if n := &c.sides[s]; c.doubted[s] && !c.asked[s] {
			c.asked[s] = true
			c.deal.at, c.deal.to, c.deal.body, c.deal.handed, c.deal.before = following, s, n.said, false, n.told
			c.leg(s).Offer(n.said)
			return
		}
	}
	c.asking, c.deal.recheck = false, [2]bool{true, true}
	c.takeUp()
}

// believe takes an event that only a side which is still there can cause.
func (c *call) believe(e Event) {
	switch e.Kind {
	case EvAgreed, EvDeclined, EvOffered, EvMoved:
	default:
		return
	}
	switch {
	case !c.doubted[e.Side]:
		return
	case e.Kind == EvDeclined && e.Status == 0: // it cannot be reached, if it is there
		return
	case c.moved && e.Kind != EvAgreed && e.Kind != EvOffered: // it has not heard where we are
		return
	}
	c.doubted[e.Side] = false
	c.media.Trust(e.Side)
}

// noMedia is the media of a call whose ports are gone.
type noMedia struct{ state json.RawMessage }

var errCut = errors.New("the media of a call is gone")

func (noMedia) Local(Side) netip.AddrPort               { return netip.AddrPort{} }
func (noMedia) Connect(Side, Stream) error              { return nil }
func (noMedia) LastHeard() [2]time.Time                 { return [2]time.Time{} }
func (noMedia) Seat() (Seat, error)                     { return nil, errCut }
func (noMedia) Take(Seat) error                         { return errCut }
func (noMedia) Say(Side, Words)                         {}
func (noMedia) Hush(Side)                               {}
func (noMedia) Listen(Side, func(byte))                 {}
func (noMedia) Record(masking.CallID, masking.TenantID) {}
func (m noMedia) State() any                            { return m.state }
func (noMedia) Trust(Side)                              {}
func (noMedia) Close() masking.Quality                  { return masking.Quality{} }
