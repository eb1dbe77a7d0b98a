package phone

import (
	"context"
	"net/netip"
	"slices"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/siptx"
)

// An Invite says whom to call, and how. Via is needed.
type Invite struct {
	From, To    string         // user parts as written; user@host takes another host than Host
	FromDisplay string         // display name of From, without quotes
	ToDisplay   string         // likewise of To
	Host        string         // domain of From, To and Request-URI; "" = our address in From, Via in the others
	Via         netip.AddrPort // where the INVITE goes
	Audio       Source         // what we say once the call is answered; nil = silence
	Headers     []Header       // added to the INVITE as they are
	// SDPLines are put into our descriptions in this call: o= and s= replace ours, i=, u=, e=
	// and p= follow them, all others come last.
	SDPLines []string
	Codecs   []string // of what G.711, G722, G729, GSM, opus, AMR, AMR-WB, telephone-event we can do; nil = G.711 and events
	NoOffer  bool     // the INVITE has no description: the far side offers in its 2xx (RFC 3261 §13.2.1)
}

// Dial sends an INVITE and returns; see Call.Ringing, Answered and Ended.
func (p *Phone) Dial(ctx context.Context, in Invite) (*Call, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := p.newCall()
	c.caller = true
	c.dialog = dialog{id: newTag(), seq: 1,
		local:  partyOf(in.FromDisplay, in.From, p.addr, in.Host),
		remote: partyOf(in.ToDisplay, in.To, in.Via, in.Host),
		hop:    siptx.Target{Network: p.o.Network, Addr: in.Via}}
	c.dialog.local.tag = newTag()
	c.dialog.target = c.dialog.remote.uri
	c.log = p.record(c.dialog.id)
	c.session.lines = in.SDPLines
	var err error
	if c.session.formats, err = p.formatsNamed(in.Codecs); err != nil {
		return nil, err
	}
	if c.voice, err = newVoice(p, c.log); err != nil {
		return nil, err
	}
	c.voice.say(in.Audio)
	if err = p.keep(c); err == nil {
		err = c.call(in)
	}
	if err != nil {
		c.mu.Lock()
		c.finish(End{ByUs: true, Err: err})
		c.mu.Unlock()
		return nil, err
	}
	return c, nil
}

// call sends the INVITE.
func (c *Call) call(in Invite) error {
	c.mu.Lock() // c.invite has to be there when the first response is looked at
	defer c.mu.Unlock()
	req, _ := c.dialog.request(sip.INVITE, c.dialog.seq)
	req.AppendHeader(c.p.contact(c.dialog.local.uri.User))
	req.AppendHeader(sip.NewHeader("Allow", allow))
	add(req, in.Headers)
	add(req, c.p.o.Headers)
	if !in.NoOffer {
		c.session.pending = true
		body(req, typeSDP, c.session.offer(c.voice.addr()))
	}
	c.seen = seenIn(req)
	c.seen.RequestUser, c.seen.Asserted, c.seen.Contact = "", "", ""
	tx, err := c.p.layer.Request(req, c.dialog.hop, c.onOutcome)
	c.invite = tx
	return err
}

// contact is where the far side reaches us within a dialog.
func (p *Phone) contact(user string) sip.Header {
	uri := sip.Uri{Scheme: "sip", User: user, Host: p.addr.Addr().String(), Port: int(p.addr.Port())}
	if p.o.Network != "udp" {
		uri.UriParams = sip.HeaderParams{{K: "transport", V: p.o.Network}}
	}
	return sip.NewHeader("Contact", "<"+uri.String()+">"+p.o.ContactParams)
}

// onOutcome takes what the INVITE that started the call has led to.
func (c *Call) onOutcome(o siptx.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.Err != nil {
		c.finish(End{ByUs: c.cancelled, Err: o.Err})
		return
	}
	if c.phase == calling {
		c.seen.update(o.Res)
	}
	switch code := o.Res.StatusCode; {
	case code == 100:
	case code < 200:
		c.onProvisional(o.Res)
	case code < 300:
		c.onAnswer(o.Res)
	case c.phase == calling:
		c.finish(End{ByUs: c.cancelled, Status: code, Reason: o.Res.Reason})
	}
}

// onProvisional takes 101 to 199. A description in it is an answer in advance: what
// comes from there is heard.
func (c *Call) onProvisional(res *sip.Response) {
	if c.phase != calling || !c.acknowledge(res) {
		return
	}
	c.rang = true
	if answer := described(res, res.GetHeader); answer != nil && c.session.pending {
		if a, err := c.session.accept(answer); err == nil {
			a.send = false // nobody has answered yet
			c.voice.ear.expect(a.to)
		}
	}
	c.notify()
}

// onAnswer takes a 2xx: the first, that again, or that of another fork (§13.2.2.4).
// Each gets its ACK.
func (c *Call) onAnswer(res *sip.Response) {
	switch seq := res.CSeq().SeqNo; {
	case c.phase == calling:
		early := c.resume(res)
		c.dialog.confirm(res)
		c.phase, c.confirmed = talking, true
		a, err := c.concludeOffer(res, early)
		c.ack(&c.dialog, seq, c.ackBody)
		if c.cancelled { // it crossed our CANCEL (§9.1)
			c.bye(End{ByUs: true}, nil)
		} else if err != nil {
			c.bye(End{ByUs: true, Err: err}, nil)
		} else {
			c.voice.agree(a)
		}
		c.notify()
	case tagOf(res.To()) == c.dialog.remote.tag:
		c.ack(&c.dialog, seq, c.ackBody)
	default:
		fork := c.dialog
		fork.seq = c.dialog.seq
		fork.confirm(res)
		c.ack(&fork, seq, nil)
		req, to := fork.request(sip.BYE, fork.next())
		add(req, c.p.o.Headers)
		if _, err := c.p.layer.Request(req, to, func(siptx.Outcome) {}); err != nil {
			c.p.log.Debug("phone: BYE to a fork not sent", "error", err)
		}
	}
}

// concludeOffer finishes an offer and answer with a 2xx to an INVITE of ours. If
// that holds the offer, our answer is left in c.ackBody. early is the answer that came
// before the 2xx, if one did.
func (c *Call) concludeOffer(res *sip.Response, early []byte) (agreement, error) {
	theirs, offered := described(res, res.GetHeader), c.session.pending
	if theirs == nil {
		theirs = early
	}
	c.session.pending = false
	switch {
	case theirs == nil:
		return agreement{}, errOffer
	case offered:
		return c.session.accept(theirs)
	}
	answer, a, err := c.session.answer(theirs, c.voice.addr())
	c.voice.ear.learn(a.format, a.events)
	c.ackBody = answer
	return a, err
}

// ack sends the ACK for a 2xx.
func (c *Call) ack(d *dialog, seq uint32, answer []byte) {
	req, to := d.request(sip.ACK, seq)
	add(req, c.p.o.Headers)
	body(req, typeSDP, answer)
	if err := c.p.layer.Send(req, to); err != nil {
		c.p.log.Debug("phone: ACK not sent", "error", err)
	}
}

// Cancel gives an unanswered call up; the CANCEL bears the given header fields. A 2xx
// that crosses it is acknowledged and ended with BYE. After the final response it does
// nothing.
func (c *Call) Cancel(headers ...Header) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.caller:
		return errState
	case c.phase != calling || c.cancelled:
		return nil
	}
	c.cancelled = true
	var list []sip.Header
	for _, h := range slices.Concat(headers, c.p.o.Headers) {
		list = append(list, sip.NewHeader(h.Name, h.Value))
	}
	return c.invite.Cancel(list...)
}
