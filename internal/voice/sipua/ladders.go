package sipua

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"tandem/internal/ladder"
	"tandem/internal/masking"
	"tandem/internal/voice/siptx"
)

// Ladders keep the SIP messages of calls (package ladder) while the calls are up and
// until they are written. A call whose record nobody keeps (see Keep) is forgotten
// with its last message.
//
// Everything is in one table under one lock, which is held for the few hundred
// nanoseconds that it takes to add a message; messages are read before.
type Ladders struct {
	mu    sync.Mutex
	calls map[masking.CallID]*story
	rungs map[string][]*rung // by SIP Call-ID; nearly always one
	over  func(masking.CallID)
}

// story is one call's ladder. Guarded by Ladders.mu.
type story struct {
	id    masking.CallID
	began time.Time
	w     ladder.Writer
	open  int  // rungs that more may come of
	kept  bool // there will be a record
	taken bool // somebody took it unfinished, and wants the rest
}

// rung is one leg in a ladder. Guarded by Ladders.mu.
type rung struct {
	of     *story
	place  int
	tag    string // ours
	acked  bool   // an ACK has come
	owing  bool   // the leg is gone, and the ACK for its refusal is not in
	closed bool
}

// NewLadders makes an empty table. over is told of a call of which somebody has seen
// the ladder (Ladder) before it was whole, once it is; it must not block.
func NewLadders(over func(masking.CallID)) *Ladders {
	return &Ladders{calls: map[masking.CallID]*story{}, rungs: map[string][]*rung{}, over: over}
}

// Keep says that the call has a record, which its ladder will be written into.
func (k *Ladders) Keep(id masking.CallID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.calls[id]; s != nil {
		s.kept = true
	}
}

// Ladder gives what was seen of a call so far; whole if no more comes. nil means that
// nothing is known of it here.
func (k *Ladders) Ladder(id masking.CallID) (seen []byte, whole bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.calls[id]
	if s == nil {
		return nil, true
	}
	return s.w.Bytes(), s.open == 0
}

// Take is Ladder for who writes it down: he is told when there is more (NewLadders).
func (k *Ladders) Take(id masking.CallID) (seen []byte, whole bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.calls[id]
	if s == nil {
		return nil, true
	}
	s.taken = s.open > 0
	return s.w.Bytes(), s.open == 0
}

// Forget drops what was taken of a call's ladder, which is written or never will be.
// A ladder of which somebody still wants the rest stays.
func (k *Ladders) Forget(id masking.CallID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch s := k.calls[id]; {
	case s == nil || s.taken:
	case s.open > 0:
		s.kept = false
	default:
		delete(k.calls, id)
	}
}

// begin makes the story of a call that an INVITE may become, and writes the INVITE
// down: its leg does not exist yet. Until join it is in no table.
func (k *Ladders) begin(id masking.CallID, at time.Time, m ladder.Message) *story {
	s := &story{id: id, began: at}
	s.w.Add(m) // of place 0, the caller's leg, which join names
	return s
}

// join gives a leg its place in the ladder of its call. s is what begin made for an
// incoming one; else the call's story is found, or begun.
func (k *Ladders) join(s *story, id masking.CallID, callID, tag, trunk, transport string) *rung {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s == nil {
		s = k.calls[id]
	}
	if s == nil {
		s = &story{id: id, began: time.Now()}
	}
	k.calls[id] = s
	r := &rung{of: s, place: s.w.Leg(trunk, transport), tag: tag}
	s.open++
	k.rungs[callID] = append(k.rungs[callID], r)
	return r
}

// leave says that a leg is gone: no more comes of it, but for the ACK that its
// refusal waits for.
func (k *Ladders) leave(r *rung, callID string, owing bool) {
	k.mu.Lock()
	var over masking.CallID
	if r.owing = owing && !r.acked; !r.owing {
		over = k.close(r, callID)
	}
	k.mu.Unlock()
	k.tell(over)
}

// settle ends the wait for an ACK.
func (k *Ladders) settle(r *rung, callID string) {
	k.mu.Lock()
	var over masking.CallID
	if r.owing {
		over = k.close(r, callID)
	}
	k.mu.Unlock()
	k.tell(over)
}

// close takes a rung out of the table, and its story if nobody keeps it. It gives
// the call of which somebody is to be told. The caller holds k.mu.
func (k *Ladders) close(r *rung, callID string) (over masking.CallID) {
	if r.closed {
		return ""
	}
	r.closed, r.owing = true, false
	if rest := slices.DeleteFunc(k.rungs[callID], func(other *rung) bool { return other == r }); len(rest) > 0 {
		k.rungs[callID] = rest
	} else {
		delete(k.rungs, callID)
	}
	s := r.of
	if s.open--; s.open > 0 {
		return ""
	}
	switch {
	case !s.kept:
		delete(k.calls, s.id)
	case s.taken:
		return s.id
	}
	return ""
}

func (k *Ladders) tell(over masking.CallID) {
	if over != "" && k.over != nil {
		k.over(over)
	}
}

// add writes a message down if it is of a leg that is known, and gives the call.
func (k *Ladders) add(g *glimpse, t siptx.Traced) masking.CallID {
	k.mu.Lock()
	r := find(k.rungs[string(g.callID)], t.Raw)
	if r == nil {
		k.mu.Unlock()
		return ""
	}
	s := r.of
	m := g.message()
	m.After, m.Leg, m.Out, m.Again = t.At.Sub(s.began), r.place, t.Out, t.Retransmission
	s.w.Add(m)
	var over masking.CallID
	if !t.Out && g.msg.Method == "ACK" {
		if r.acked = true; r.owing {
			over = k.close(r, string(g.callID))
		}
	}
	k.mu.Unlock()
	k.tell(over)
	return s.id
}

// find tells legs of one Call-ID apart by our tag: an INVITE that comes back to us is
// of two.
func find(rungs []*rung, raw []byte) *rung {
	switch len(rungs) {
	case 0:
		return nil
	case 1:
		return rungs[0]
	}
	for _, r := range rungs {
		if bytes.Contains(raw, []byte(r.tag)) {
			return r
		}
	}
	return nil
}

// trace sees every message: for the ladder of its call, and for who else wants it.
func (ua *Agent) trace(t siptx.Traced) {
	var g glimpse
	g.glance(t.Raw)
	ua.traffic.count(g.msg, t.Out)
	call := ua.o.Ladders.add(&g, t)
	if call == "" && g.invite && t.Server != nil {
		call = ua.o.NewCallID()
		t.Server.Note = ua.o.Ladders.begin(call, t.At, g.message())
	}
	if ua.o.Trace != nil {
		ua.o.Trace(t)
	}
	if ua.o.Export != nil {
		ua.o.Export(t, call)
	}
}
