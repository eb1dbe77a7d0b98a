package relay

import (
	"fmt"
	"net/netip"
	"time"
)

// SessionState is what it takes to go on with a session in another process: plain
// data, to be written down at a moment that nothing depends on. What has moved
// since (numbers of packets, a peer behind a NAT) is found anew.
type SessionState struct {
	At    time.Time    `json:"at"` // by the wall clock
	Sides [2]SideState `json:"sides"`
}

// SideState is one side of a session.
type SideState struct {
	Port  uint16 `json:"port"` // of RTP; that of RTCP is the next
	SSRC  uint32 `json:"ssrc"` // ours towards the side
	CName string `json:"cname"`
	// RTP and RTCP are where the peer was found to send from; zero = not found yet.
	RTP      netip.AddrPort `json:"rtp,omitzero"`
	RTCP     netip.AddrPort `json:"rtcp,omitzero"`
	PeerSSRC uint32         `json:"peer_ssrc,omitempty"`
	Flow     FlowState      `json:"flow"` // from this side to the other
}

// FlowState is how the packets of one side are numbered for the other.
type FlowState struct {
	Aligned   bool   `json:"aligned,omitempty"` // Sequences and Ticks are added to those of Source
	Source    uint32 `json:"source,omitempty"`
	Sequences uint16 `json:"sequences,omitempty"`
	Ticks     uint32 `json:"ticks,omitempty"`
	Sequence  uint16 `json:"sequence"`  // of the last packet
	Timestamp uint32 `json:"timestamp"` // of our stream at SessionState.At
	Clock     uint32 `json:"clock,omitempty"`
}

// State gives the session's state for Engine.Resume.
func (s *Session) State() SessionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.engine.now()
	st := SessionState{At: now.Round(0)}
	for side := range s.ends {
		st.Sides[side] = s.ends[side].state(now.Sub(s.engine.epoch))
	}
	return st
}

func (n *end) state(now time.Duration) SideState {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := &n.flow
	return SideState{Port: n.port, SSRC: n.ssrc, CName: n.cname, RTP: n.rtpSource.known(), RTCP: n.rtcpSource.known(),
		PeerSSRC: n.rtpSource.ssrc, Flow: FlowState{Aligned: f.aligned, Source: f.source, Sequences: f.sequences, Ticks: f.ticks,
			Sequence: f.sequence, Timestamp: f.timestampAt(now, f.clock), Clock: f.clock}}
}

// known is where the peer sends from, or did before a restart.
func (s *source) known() netip.AddrPort {
	if s.locked.IsValid() {
		return s.locked
	}
	return s.before
}

// Resume opens a session of another process again, at the same ports: those rest
// if it cannot. As after Open, nothing is forwarded before both sides are connected;
// and nothing is sent to a side that has not been heard again, until Trust.
func (e *Engine) Resume(st SessionState) (*Session, error) {
	var pairs [2]*pair
	var err error
	for side := range pairs {
		p, fault := e.ports.reopen(st.Sides[side].Port, e.Elapsed())
		if pairs[side] = p; fault != nil {
			err = fmt.Errorf("resume media of side %v: %w", Side(side), fault)
		}
	}
	if err == nil {
		s := newSession(e, pairs[A], pairs[B])
		s.restore(st)
		if err = e.begin(s); err == nil {
			return s, nil
		}
		for _, p := range pairs { // closed by begin
			e.ports.retire(p.port, e.Elapsed())
		}
		return nil, err
	}
	for _, p := range pairs {
		if p != nil {
			p.close()
			e.ports.retire(p.port, e.Elapsed())
		}
	}
	return nil, err
}

// clocksApart is how far the wall clocks of two hosts may be apart.
const clocksApart = 2 * time.Second

// Move is Resume for a session of another host, at ports of this one: its peers must
// be told where those are before they can be heard. Numbers of packets leave out what
// the other host can have used if its clock is ahead.
func (e *Engine) Move(st SessionState) (*Session, error) {
	st.At = st.At.Add(-clocksApart)
	return e.open(&st)
}

// restore gives a session that nobody uses yet the state of an earlier one.
func (s *Session) restore(st SessionState) {
	now := s.engine.now()
	away := max(0, now.Sub(st.At))
	for side := range s.ends {
		n, was := &s.ends[side], st.Sides[side]
		n.ssrc, n.cname, n.unsure = was.SSRC, was.CName, true
		n.rtpSource.before, n.rtpSource.ssrc = was.RTP, was.PeerSSRC
		n.rtcpSource.before, n.rtcpSource.ssrc = was.RTCP, was.PeerSSRC
		n.flow = restored(was.Flow, st.Sides[Side(side).Other()].SSRC, now.Sub(s.engine.epoch), away)
	}
}

// jump is how many more numbers a stream leaves out after a restart than it can have
// used: what is ahead plays on, what is behind is thrown away by many.
const jump = 50

// used is how many numbers a stream can have used in a while, by packets of 20 ms or
// of 10: which of them is not known, so what is ahead of both.
func used(away time.Duration) uint16 {
	usual, short := uint16(away/frameTime), uint16(2*away/frameTime)
	if int16(short-usual) > 0 {
		return short
	}
	return usual
}

// restored is a flow that another process had away ago. If the packets that come now
// are of the same source, they get the numbers that they would have had, and the
// restart looks like a loss. If not, they go on as far ahead as time has passed.
func restored(was FlowState, ssrc uint32, now, away time.Duration) flow {
	f := newFlow(ssrc)
	f.resumed, f.sent = true, true
	f.aligned, f.source, f.sequences, f.ticks = was.Aligned, was.Source, was.Sequences, was.Ticks
	f.sequence = was.Sequence + used(away) + jump
	f.timestamp, f.clock, f.at = was.Timestamp, was.Clock, now-away
	if f.clock == 0 {
		f.clock = 8000
	}
	return f
}

// resume places the first packet after a restart.
func (f *flow) resume(h header) {
	f.resumed = false
	if f.aligned && h.ssrc == f.source {
		f.sequence, f.room = h.sequence+f.sequences-1, 0
	}
}

// Trust says that the peer of a side that was resumed is still there: it is sent to
// though it says nothing, as one that listens or holds.
func (s *Session) Trust(side Side) {
	n := &s.ends[side]
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.unsure {
		n.unsure = false
		n.aimRTP()
		n.aimRTCP()
	}
}
