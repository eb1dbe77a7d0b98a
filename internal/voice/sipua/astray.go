package sipua

import (
	"sync"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/siptx"
)

// This file is what becomes of a request within a dialog that is none of ours: a
// balancer, or a name with several addresses, has brought it to the wrong node. All
// other nodes are asked; the one that has the dialog answers, through us.

// mayPass reports whether a request may be passed on. One that another node has passed
// on has no hops left: it goes round no circle.
func mayPass(req *sip.Request) bool {
	m := req.MaxForwards()
	return m == nil || m.Val() > 0
}

// passed is a request as another node gets it. Its Via is ours alone: the answer comes
// to us, and we know where it is to go.
func passed(req *sip.Request) *sip.Request {
	out := req.Clone()
	for out.RemoveHeader("Max-Forwards") {
	}
	last := sip.MaxForwardsHeader(0)
	out.AppendHeader(&last)
	return out
}

// astray answers a request of a dialog that is not ours: with what the node says that
// has it; with 481 if all say that they have not; with 504 if one of them said nothing,
// for that may be the one, or be about to be taken over.
func (ua *Agent) astray(tx *siptx.ServerTx, req *sip.Request) {
	list := ua.fellows.all()
	if len(list) == 0 || !mayPass(req) {
		ua.refuse(tx, 481)
		return
	}
	s := &search{ua: ua, tx: tx, left: len(list)}
	for i, to := range list {
		if _, err := ua.tx.Request(passed(req), to, func(o siptx.Outcome) { s.heard(i, o) }); err != nil {
			s.heard(i, siptx.Outcome{Err: err})
		}
	}
}

// ackAstray passes on the ACK of a 2xx that is none of ours. Nobody answers it, and
// whoever has not that dialog leaves it.
func (ua *Agent) ackAstray(req *sip.Request) {
	if !mayPass(req) {
		return
	}
	for _, to := range ua.fellows.all() {
		if err := ua.tx.Send(passed(req), to); err != nil {
			ua.o.Log.Debug("ACK not passed on", "error", err.Error())
		}
	}
}

// search asks all other nodes for a dialog.
type search struct {
	ua *Agent
	tx *siptx.ServerTx

	mu    sync.Mutex
	left  int  // who has not answered
	mute  bool // somebody could not be asked, or did not answer
	found bool
	by    int // who has it
}

// heard takes what one of them says.
func (s *search) heard(i int, o siptx.Outcome) {
	nobody := o.Err != nil || o.Res.StatusCode == 481
	s.mu.Lock()
	switch {
	case s.found && s.by != i:
		s.mu.Unlock()
		return
	case !s.found && nobody:
		s.left--
		s.mute = s.mute || o.Err != nil
		last, status := s.left == 0, 481
		if s.mute {
			status = 504
		}
		s.mu.Unlock()
		if last {
			s.ua.refuse(s.tx, status)
		}
		return
	case o.Err != nil: // nothing comes after a provisional
		s.mu.Unlock()
		s.ua.refuse(s.tx, 504)
		return
	}
	if o.Res.StatusCode > 100 {
		s.found, s.by = true, i
	}
	s.mu.Unlock()
	if o.Res.StatusCode > 100 {
		_ = s.ua.respond(s.tx, returned(o.Res, s.tx.Request())) // logged there
	}
}

// returned is an answer of another node as the peer gets it.
func returned(res *sip.Response, req *sip.Request) *sip.Response {
	out := res.Clone()
	for out.RemoveHeader("Via") {
	}
	vias := req.GetHeaders("Via")
	for i := range vias {
		out.PrependHeader(sip.HeaderClone(vias[len(vias)-1-i]))
	}
	return out
}
