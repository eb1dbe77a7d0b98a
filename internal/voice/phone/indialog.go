package phone

import (
	"context"
	"errors"
	"fmt"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/sdp"
	"tandem/internal/voice/siptx"
)

// A Request is a request that a phone is told to send.
type Request struct {
	Method  string
	Headers []Header
	Type    string // Content-Type, with Body
	Body    []byte
}

// A Response is the final response to a Request.
type Response struct {
	Status  int
	Reason  string
	Headers []Header
	Body    []byte
}

// Send sends any request within the dialog but INVITE, ACK, CANCEL and BYE, and gives its
// final response, whatever that is.
func (c *Call) Send(ctx context.Context, r Request) (*Response, error) {
	switch r.Method {
	case "INVITE", "ACK", "CANCEL", "BYE", "":
		return nil, fmt.Errorf("phone: %q is not sent like this", r.Method)
	}
	c.mu.Lock()
	if c.phase != talking {
		c.mu.Unlock()
		return nil, errState
	}
	d, seq := c.dialog, c.dialog.next()
	c.mu.Unlock()
	return c.p.ask(ctx, &d, seq, r)
}

// ask sends a request and waits for its final response.
func (p *Phone) ask(ctx context.Context, d *dialog, seq uint32, r Request) (*Response, error) {
	req, to := d.request(sip.RequestMethod(r.Method), seq)
	req.AppendHeader(p.contact(d.local.uri.User))
	add(req, r.Headers)
	add(req, p.o.Headers)
	body(req, r.Type, r.Body)
	final := make(chan siptx.Outcome, 1)
	_, err := p.layer.Request(req, to, func(o siptx.Outcome) {
		if o.Err != nil || o.Res.StatusCode >= 200 {
			select {
			case final <- o:
			default: // a further 2xx
			}
		}
	})
	if err != nil {
		return nil, err
	}
	select {
	case o := <-final:
		if o.Err != nil {
			return nil, o.Err
		}
		res := &Response{Status: o.Res.StatusCode, Reason: o.Res.Reason, Body: o.Res.Body()}
		for _, h := range o.Res.Headers() {
			res.Headers = append(res.Headers, Header{h.Name(), h.Value()})
		}
		return res, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// An Offer changes the media of an answered call.
type Offer struct {
	Update    bool          // by UPDATE (RFC 3311) instead of a re-INVITE
	Direction sdp.Direction // "" = as before
	Codecs    []string      // nil = as before
	NewPort   bool          // take RTP at other ports from now on; under SRTP with other keys (RFC 4568 §7.1.4)
	Rekey     bool          // give other keys
	NoOffer   bool          // without description: a re-INVITE to which the far side offers, or an UPDATE that changes nothing
	Headers   []Header
}

// Hold asks the far side to send nothing (RFC 3264 §8.4: sendonly). We go on
// speaking, as music on hold would.
func (c *Call) Hold(ctx context.Context) error {
	return c.Reinvite(ctx, Offer{Direction: sdp.SendOnly})
}

// Resume undoes Hold.
func (c *Call) Resume(ctx context.Context) error {
	return c.Reinvite(ctx, Offer{Direction: sdp.SendRecv})
}

// Reinvite makes an offer within the call, once no other is under way here, and waits
// for the answer. A refusal, 491
// among them, is a *StatusError and leaves everything as it was but for the port;
// 408, 481 and a time-out end the call (RFC 3261 §12.2.1.2).
func (c *Call) Reinvite(ctx context.Context, o Offer) error {
	result := make(chan error, 1)
	err := c.await(ctx, func() (bool, error) {
		switch {
		case c.phase != talking || c.cancelled:
			return false, errState
		case !c.confirmed || c.session.pending || len(c.unacked) > 0:
			return false, nil
		}
		return true, c.reoffer(o, result)
	})
	if err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// reoffer sends the offer. The caller holds c.mu.
func (c *Call) reoffer(o Offer, result chan<- error) error {
	before := c.session
	if o.Codecs != nil {
		formats, err := c.p.formatsNamed(o.Codecs)
		if err != nil {
			return err
		}
		c.session.formats = formats
	}
	if o.Direction != "" {
		c.session.direction = o.Direction
	}
	if o.NewPort {
		if err := c.voice.open(); err != nil {
			return err
		}
	}
	if o.NewPort || o.Rekey {
		c.session.security.keys = nil
	}
	method := sip.INVITE
	if o.Update {
		method = sip.UPDATE
	}
	req, to := c.dialog.request(method, c.dialog.next())
	req.AppendHeader(c.p.contact(c.dialog.local.uri.User))
	add(req, o.Headers)
	add(req, c.p.o.Headers)
	if !o.NoOffer {
		body(req, typeSDP, c.session.offer(c.voice.addr()))
		c.session.pending = true
	}
	r := &reinvite{c: c, seq: c.dialog.seq, before: before, result: result, refresh: o.Update && o.NoOffer}
	_, err := c.p.layer.Request(req, to, r.onOutcome)
	if err != nil {
		c.session = before
	}
	return err
}

// A reinvite is an offer of ours under way.
type reinvite struct {
	c       *Call
	seq     uint32
	before  session
	result  chan<- error
	ackBody []byte
	refresh bool // an UPDATE without description
	settled bool // the first final response has been looked at
}

func (r *reinvite) onOutcome(o siptx.Outcome) {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.Err == nil && o.Res.StatusCode < 200 {
		return
	}
	if !r.settled {
		r.settled = true
		r.result <- r.settle(o)
		c.notify()
		return
	}
	if o.Err == nil && o.Res.StatusCode < 300 && o.Res.CSeq().MethodName == sip.INVITE {
		c.ack(&c.dialog, r.seq, r.ackBody)
	}
}

// settle takes the first final response. The caller holds c.mu.
func (r *reinvite) settle(o siptx.Outcome) error {
	c := r.c
	refused := o.Err
	if refused == nil && o.Res.StatusCode >= 300 {
		refused = &StatusError{o.Res.StatusCode, o.Res.Reason}
	}
	if refused != nil {
		version := c.session.version
		c.session = r.before
		c.session.version = version // it has been used
		if o.Err != nil || o.Res.StatusCode == 408 || o.Res.StatusCode == 481 {
			c.bye(End{ByUs: true, Err: refused}, nil)
		}
		return refused
	}
	c.dialog.retarget(o.Res)
	if r.refresh {
		return nil
	}
	c.ackBody = nil
	a, err := c.concludeOffer(o.Res, nil)
	r.ackBody = c.ackBody
	if o.Res.CSeq().MethodName == sip.INVITE {
		c.ack(&c.dialog, r.seq, r.ackBody)
	}
	if err == nil && c.phase == talking {
		c.voice.agree(a)
	}
	return err
}

// Hangup ends the call as its state asks for: CANCEL, 480 or, once answered, BYE with the
// given header fields; a callee waits for the ACK first (RFC 3261 §15). It returns
// when the call is over. Ending a call that is over already is no error.
func (c *Call) Hangup(ctx context.Context, headers ...Header) error {
	c.mu.Lock()
	waiting := c.phase == calling
	c.mu.Unlock()
	if waiting {
		err := c.Cancel(headers...)
		if !c.caller {
			err = c.Reject(480, "", headers...)
		}
		if err != nil && !errors.Is(err, errState) { // errState: answered or ended meanwhile
			return err
		}
	}
	return c.await(ctx, func() (bool, error) {
		if c.phase == talking && c.confirmed && !c.cancelled {
			c.bye(End{ByUs: true}, headers)
		}
		return c.phase == over, nil
	})
}

// bye sends a BYE; the call is over with e when that is answered or given up. The
// caller holds c.mu.
func (c *Call) bye(e End, headers []Header) {
	if c.phase != talking {
		return
	}
	c.phase = leaving
	c.voice.close()
	req, to := c.dialog.request(sip.BYE, c.dialog.next())
	add(req, headers)
	add(req, c.p.o.Headers)
	_, err := c.p.layer.Request(req, to, func(o siptx.Outcome) {
		if o.Err == nil && o.Res.StatusCode < 200 {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if e.Err == nil {
			e.Err = o.Err
		}
		c.finish(e)
	})
	if err != nil {
		e.Err = errors.Join(e.Err, err)
		c.finish(e)
	}
}

// onRequest answers a request within the dialog.
func (c *Call) onRequest(tx *siptx.ServerTx, req *sip.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.dialog.remote.tag == "" && c.caller || tagOf(req.From()) == c.dialog.remote.tag
	switch {
	case c.phase == over || !known:
		c.answer(tx, req, 481)
		return
	case req.CSeq().SeqNo <= c.dialog.remoteSeq: // §12.2.2
		c.answer(tx, req, 500)
		return
	}
	c.dialog.remoteSeq = req.CSeq().SeqNo
	switch req.Method {
	case sip.BYE:
		c.answer(tx, req, 200)
		if c.phase == calling && !c.caller { // §15.1.2
			c.p.respond(c.server, c.respondTo(c.request, 487, "", nil))
		}
		c.finish(End{Reason: reasonOf(req)})
	case sip.INVITE, sip.UPDATE:
		c.onOffer(tx, req)
	case sip.INFO:
		c.onInfo(req)
		c.answer(tx, req, 200)
	case sip.OPTIONS, sip.MESSAGE, sip.NOTIFY:
		c.answer(tx, req, 200)
	case sip.REFER:
		c.answer(tx, req, 603)
	case sip.PRACK:
		c.onPrack(tx, req)
	default:
		c.answer(tx, req, 405)
	}
}

// onInfo takes a digit. The caller holds c.mu.
func (c *Call) onInfo(req *sip.Request) {
	h := req.GetHeader("Content-Type")
	if h == nil || c.voice == nil {
		return
	}
	if digit, ok := signalIn(h.Value(), req.Body()); ok {
		c.voice.ear.press(digit)
	}
}

func (c *Call) answer(tx *siptx.ServerTx, req *sip.Request, status int) {
	res := c.respondTo(req, status, "", nil)
	if status == 405 {
		res.AppendHeader(sip.NewHeader("Allow", allow))
	}
	c.p.respond(tx, res)
}

// keepAlive grants what a request asks for its session (RFC 4028 §9). A phone keeps no
// clock of it: whoever uses one says in the headers of his own messages what he wants,
// and refreshes by Reinvite.
func keepAlive(req *sip.Request, res *sip.Response) {
	if h := req.GetHeader("Session-Expires"); h != nil {
		add(res, []Header{{"Require", "timer"}, {"Session-Expires", h.Value()}})
	}
}

// A refusal is what the next offer within the call gets.
type refusal struct {
	status int
	given  chan struct{}
}

// Refuse has the next offer within the call refused with status: 491, say, as by
// somebody who has an offer out himself. What it returns is closed when that is done.
func (c *Call) Refuse(status int) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuses = &refusal{status, make(chan struct{})}
	return c.refuses.given
}

// onOffer answers a re-INVITE or UPDATE. The caller holds c.mu.
func (c *Call) onOffer(tx *siptx.ServerTx, req *sip.Request) {
	if r := c.refuses; r != nil {
		c.refuses = nil
		c.answer(tx, req, r.status)
		close(r.given)
		return
	}
	offer := described(req, req.GetHeader)
	if c.session.pending && offer != nil || len(c.unacked) > 0 && req.Method == sip.INVITE || c.phase == leaving || c.voice == nil {
		c.answer(tx, req, 491)
		return
	}
	res := c.respondTo(req, 200, "", nil)
	keepAlive(req, res)
	var a agreement
	switch {
	case offer != nil:
		answer, agreed, err := c.session.answer(offer, c.voice.addr())
		if err != nil {
			c.answer(tx, req, 488)
			return
		}
		c.voice.ear.learn(agreed.format, agreed.events)
		a = agreed
		body(res, typeSDP, answer)
	case req.Method == sip.INVITE:
		c.session.pending = true
		body(res, typeSDP, c.session.offer(c.voice.addr()))
	}
	c.dialog.retarget(req)
	c.p.respond(tx, res)
	if req.Method == sip.INVITE {
		c.repeat(tx, res)
	}
	if a.to.IsValid() {
		c.voice.agree(a)
	}
}
