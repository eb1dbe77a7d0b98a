package phone

import (
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/siptx"
)

// A Reply is what goes into a response of ours to the INVITE besides what RFC 3261
// asks for.
type Reply struct {
	Status   int      // 0 = 180 in Ring, 200 in Answer
	Reason   string   // "" = the usual phrase
	Headers  []Header // added as they are
	Audio    Source   // what we say from now on; nil = what there was, silence at first
	SDPLines []string // as in Invite; those of the first description count
	Codecs   []string // likewise
	Reliable bool     // Ring: the caller has to acknowledge it (RFC 3262), which Acknowledged waits for
	Early    bool     // Ring: with a description, and Audio is sent at once (early media)
}

// Ring sends a provisional response, 180 if r says no other. It may be repeated.
func (c *Call) Ring(r Reply) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.caller || c.phase != calling {
		return errState
	}
	if r.Status == 0 {
		r.Status = 180
	}
	res := c.respondTo(c.request, r.Status, r.Reason, r.Headers)
	if r.Early {
		if err := c.describe(r); err != nil {
			return err
		}
		body(res, typeSDP, c.said)
	}
	send := c.server.Respond
	if r.Reliable {
		send = c.ringReliably
	}
	if err := send(res); err != nil {
		return err
	}
	if r.Early && c.agreed.to.IsValid() {
		c.voice.agree(c.agreed)
	}
	c.rang = true
	c.notify()
	return nil
}

// Answer sends a 2xx and repeats it until the ACK (§13.3.1.4); Answered waits for
// that. If no ACK comes the call ends with BYE and ErrNoAck. An offer that holds
// no codec of ours is refused with 488, and Answer returns the error. A description that
// was acknowledged before is not said again, and one that was not yet has to be first.
func (c *Call) Answer(r Reply) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.caller || c.phase != calling || c.reliable.open != nil && c.reliable.described {
		return errState
	}
	if r.Status == 0 {
		r.Status = 200
	}
	if err := c.describe(r); err != nil {
		c.reject(488, "", nil)
		return err
	}
	res := c.respondTo(c.request, r.Status, r.Reason, r.Headers)
	if !c.reliable.agreed {
		body(res, typeSDP, c.said)
	}
	if err := c.server.Respond(res); err != nil {
		return err
	}
	c.phase = talking
	c.repeat(c.server, res)
	if c.agreed.to.IsValid() {
		c.voice.agree(c.agreed)
	}
	c.notify()
	return nil
}

// Reject refuses the call with a status of 300 or above; reason "" takes the usual phrase.
func (c *Call) Reject(status int, reason string, headers ...Header) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.caller || c.phase != calling {
		return errState
	}
	return c.reject(status, reason, headers)
}

// reject refuses the INVITE and ends the call. The caller holds c.mu.
func (c *Call) reject(status int, reason string, headers []Header) error {
	res := c.respondTo(c.request, status, reason, headers)
	err := c.server.Respond(res)
	c.finish(End{ByUs: true, Status: status, Reason: res.Reason})
	return err
}

// Fork returns another call made of the same INVITE, as a proxy in between would
// make it by ringing two phones (§16.7): it has its own To tag and rings and answers for
// itself. Both may answer. It is for an INVITE without a final response.
func (c *Call) Fork() (*Call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.caller || c.phase != calling {
		return nil, errState
	}
	f := c.p.newCall()
	f.server, f.request, f.log, f.seen = c.server, c.request, c.log, seenIn(c.request)
	f.dialog = dialogOf(c.request, c.dialog.hop, newTag())
	return f, c.p.keep(f)
}

// describe makes the description that answers the INVITE's offer, or our offer if it
// had none, unless that has been done. The caller holds c.mu.
func (c *Call) describe(r Reply) error {
	if c.voice == nil {
		formats, err := c.p.formatsNamed(r.Codecs)
		if err != nil {
			return err
		}
		c.session.formats, c.session.lines = formats, r.SDPLines
		if c.voice, err = newVoice(c.p, c.log); err != nil {
			return err
		}
	}
	c.voice.say(r.Audio)
	if c.said != nil {
		return nil
	}
	offer := described(c.request, c.request.GetHeader)
	if offer == nil {
		c.said, c.session.pending = c.session.offer(c.voice.addr()), true
		return nil
	}
	answer, a, err := c.session.answer(offer, c.voice.addr())
	if err != nil {
		return err
	}
	c.voice.ear.learn(a.format, a.events)
	c.said, c.agreed = answer, a
	return nil
}

// respondTo builds a response to a request of this dialog.
func (c *Call) respondTo(req *sip.Request, status int, reason string, headers []Header) *sip.Response {
	res := response(req, status, reason, c.dialog.local.tag)
	if status > 100 && status < 300 && (req.Method == sip.INVITE || req.Method == sip.UPDATE) {
		res.AppendHeader(c.p.contact(c.dialog.local.uri.User))
		res.AppendHeader(sip.NewHeader("Allow", allow))
	}
	add(res, headers)
	add(res, c.p.o.Headers)
	return res
}

// An unacked is a 2xx of ours that is repeated until its ACK comes.
type unacked struct{ acked chan struct{} }

// repeat sends res again at T1, doubled up to T2, for 64*T1. The caller holds c.mu
// and has sent it once.
func (c *Call) repeat(tx *siptx.ServerTx, res *sip.Response) {
	u := &unacked{acked: make(chan struct{})}
	c.unacked[res.CSeq().SeqNo] = u
	c.p.spawn(func() {
		t := &c.p.o.Timers
		interval := t.T1
		again, end := time.NewTimer(interval), time.NewTimer(64*t.T1)
		defer again.Stop()
		defer end.Stop()
		for {
			select {
			case <-u.acked:
				return
			case <-c.done:
				return
			case <-again.C:
				c.p.respond(tx, res)
				interval = min(2*interval, t.T2)
				again.Reset(interval)
			case <-end.C:
				c.mu.Lock()
				c.bye(End{ByUs: true, Err: ErrNoAck}, nil)
				c.mu.Unlock()
				return
			}
		}
	})
}

// onAck ends the repeating of a 2xx. A description in the ACK answers our offer.
func (c *Call) onAck(req *sip.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seq := req.CSeq().SeqNo
	u := c.unacked[seq]
	if u == nil || c.phase == over {
		return
	}
	delete(c.unacked, seq)
	close(u.acked)
	c.confirmed = true
	if c.session.pending {
		c.session.pending = false
		a, err := c.session.accept(described(req, req.GetHeader))
		if err != nil {
			c.bye(End{ByUs: true, Err: err}, nil)
		} else {
			c.voice.agree(a)
		}
	}
	c.notify()
}

// onCancel ends a call that has no final response (RFC 3261 §9.2).
func (c *Call) onCancel(cancel *sip.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != calling {
		return
	}
	c.p.respond(c.server, c.respondTo(c.request, 487, "", nil))
	c.finish(End{Status: 487, Reason: reasonOf(cancel)})
}

func reasonOf(req *sip.Request) string {
	if h := req.GetHeader("Reason"); h != nil {
		return h.Value()
	}
	return ""
}
