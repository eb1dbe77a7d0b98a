package sipua

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// LegState is what it takes to go on with a leg in another process: plain data, of
// a dialog that is confirmed.
type LegState struct {
	Incoming  bool         `json:"incoming,omitempty"`
	Trunk     string       `json:"trunk"`
	Origin    siptx.Target `json:"origin"`
	CallID    string       `json:"call_id"`
	LocalTag  string       `json:"local_tag"`
	RemoteTag string       `json:"remote_tag"`
	Local     string       `json:"local"` // URIs
	Remote    string       `json:"remote"`
	Target    string       `json:"target"`
	Routes    []string     `json:"routes,omitempty"`
	Seq       uint32       `json:"seq"`
	RemoteSeq uint64       `json:"remote_seq,omitempty"` // of type sequence
	Peer      siptx.Target `json:"peer"`
	Updates   bool         `json:"updates,omitempty"`
	Sips      bool         `json:"sips,omitempty"`      // our Contact is a sips URI
	Expires   int          `json:"expires,omitempty"`   // s: the session interval (RFC 4028), 0 = none
	Least     int          `json:"min_se,omitempty"`    // s
	Refreshes bool         `json:"refreshes,omitempty"` // we do
	Theirs    string       `json:"theirs,omitempty"`    // sdp.Sum of the peer's description
}

// State gives the leg's state for Agent.Resume (b2bua.Leg); nil if its dialog does
// not talk.
func (l *leg) State() any {
	l.mu.Lock()
	talks := l.phase == talking || l.phase == answered
	d, s := l.dlg, l.session
	l.mu.Unlock()
	if !talks {
		return nil
	}
	st := LegState{Incoming: l.incoming, Trunk: l.trunk.Name, Origin: l.origin, CallID: d.callID, LocalTag: d.localTag,
		RemoteTag: d.remoteTag, Local: d.local.String(), Remote: d.remote.String(), Target: d.target.String(), Seq: d.seq,
		RemoteSeq: uint64(d.remoteSeq), Peer: d.peer, Updates: d.updates, Sips: l.sips,
		Expires: s.interval, Least: s.least, Refreshes: s.ours, Theirs: s.theirs}
	for i := range d.routes {
		st.Routes = append(st.Routes, d.routes[i].String())
	}
	return st
}

// seqJump is how far the CSeq of a leg jumps ahead when it is resumed: what was sent
// since its state was written is not known, and no number may be used twice. A gap
// is no fault (RFC 3261 §12.2.2), and there is room for 30,000 restarts.
const seqJump = 1 << 16

// errState says that a state is none of ours. It tells nothing of what stands in it.
var errState = errors.New("a leg's state cannot be read")

// Resume goes on with a leg of another process, whose state this is; said is the
// description that we gave last. Nothing is sent, and nothing is heard before it is
// bound. Its session lasts as long as one that has just been refreshed.
func (ua *Agent) Resume(call masking.CallID, said, state []byte) (b2bua.Leg, error) {
	var st LegState
	if err := json.Unmarshal(state, &st); err != nil || st.CallID == "" || st.LocalTag == "" {
		return nil, errState
	}
	l := &leg{ua: ua, call: call, name: "b", incoming: st.Incoming, origin: st.Origin, phase: talking}
	if st.Incoming {
		l.name = "a"
	}
	l.log = ua.o.Log.With("call", string(call), "leg", l.name)
	l.trunk, l.sips = ua.trunks.named(st.Trunk), st.Sips
	l.wallet = ua.walletOf(l.trunk)
	l.dlg = dialog{callID: st.CallID, localTag: st.LocalTag, remoteTag: st.RemoteTag, seq: st.Seq + seqJump,
		remoteSeq: sequence(st.RemoteSeq), peer: st.Peer, updates: st.Updates}
	l.dlg.routes = make([]sip.Uri, len(st.Routes))
	to := []*sip.Uri{&l.dlg.local, &l.dlg.remote, &l.dlg.target}
	for i := range l.dlg.routes {
		to = append(to, &l.dlg.routes[i])
	}
	for i, text := range append([]string{st.Local, st.Remote, st.Target}, st.Routes...) {
		if err := sip.ParseUri(text, to[i]); err != nil {
			return nil, errState
		}
	}
	if ua.find(st.CallID, st.LocalTag) != nil {
		return nil, fmt.Errorf("%w: its dialog is there already", errState)
	}
	made := l.dlg
	l.made = &made
	l.mu.Lock()
	l.session.said, l.session.least, l.session.theirs = said, st.Least, st.Theirs
	l.expireIn(st.Expires, st.Refreshes)
	l.mu.Unlock()
	if !st.Incoming {
		state := ua.trunks.state(st.Trunk)
		state.add(l.trunk.Trunk)
		l.done = state.give
	}
	ua.remember(l)
	return l, nil
}

// TakesOver reports whether a leg of another node, whose state this is, may go on here:
// its trunk says so.
func (ua *Agent) TakesOver(state []byte) bool {
	var st LegState
	return json.Unmarshal(state, &st) == nil && ua.trunks.takesOver(st.Trunk)
}

// acknowledges sends the ACK of a 2xx whose transaction died with the process that
// sent its INVITE, and reports whether it was one of the leg's dialog.
func (l *leg) acknowledges(res *sip.Response) bool {
	l.mu.Lock()
	ours := l.made != nil && tagOf(res.To().Params) == l.made.remoteTag
	l.mu.Unlock()
	if ours {
		l.onFurther(res)
	}
	return ours
}
