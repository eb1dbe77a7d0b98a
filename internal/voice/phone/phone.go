// Package phone is a telephone that really speaks SIP and RTP: it calls and is
// called, by UDP, TCP or TLS, says what a Source gives it and keeps what it hears.
//
// It is what `tandem call` and `tandem demo` use, and what tests put on both sides
// of Tandem, as the party and as the far carrier. It follows RFC 3261 and 3264 as a
// user agent should; on request it is as talkative as the worst carrier (Headers,
// SDPLines, RTCP, Extension), so that one can show that nothing of it crosses. It
// keeps every message and packet of every call until it is closed, and resolves no
// names: it is not made for days of calls.
//
// What a call has seen holds real numbers and the digits that were pressed, and is
// meant for the person who placed the call. Errors, logs and the printed ladder do not.
package phone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/sdp"
	"tandem/internal/voice/siptx"
)

var (
	errClosed = errors.New("phone: closed")
	errState  = errors.New("phone: not possible in this state of the call")
)

// ErrNoAck says that a call was given up because nobody acknowledged our 2xx.
var ErrNoAck = errors.New("phone: no ACK for the answer")

// A StatusError is a final response that refuses a request.
type StatusError struct {
	Code   int
	Reason string // as the far side wrote it
}

// Error tells the code only: a reason phrase can hold anything.
func (e *StatusError) Error() string { return fmt.Sprintf("phone: refused with status %d", e.Code) }

// Options says how a phone behaves. IP is needed; the rest may be zero.
type Options struct {
	Network string // "udp" (default), "tcp" or "tls"
	IP      netip.Addr
	Port    uint16       // of SIP; 0 = any
	Log     *slog.Logger // nil = discarded
	Timers  siptx.Timers

	// Credentials are what a phone on TLS shows and believes; needed there.
	Credentials *siptx.Credentials

	// OnCall gets each incoming call on a goroutine of its own; it has to return
	// once the call has ended (Call.Done), since Close waits for it. nil: 486.
	OnCall func(*Call)

	// Headers are added to every request and response of the phone but those that
	// siptx makes by itself: 100, the ACK of a refusal, the 200 to a CANCEL.
	Headers []Header
	// ContactParams is appended to every Contact, such as ";x-owner=alice".
	ContactParams string
	// RTCP is sent as it is with each of our reports: at once when sending begins,
	// then every 5 s.
	RTCP []byte
	// Extension is put into every RTP packet as the data of a header extension.
	Extension []byte
	// NoEvents keeps telephone-event out of every offer and answer.
	NoEvents bool

	// SRTP is what offers say of it (RFC 4568): nothing, both, or SRTP only. A Plain
	// phone answers no key, a Mandatory one no offer without. Suite leaves one way to
	// protect; "" = all that sdp knows.
	SRTP  sdp.Profile
	Suite sdp.Suite
	// Mux offers and answers rtcp-mux (RFC 5761).
	Mux bool
	// Numbers are payload numbers by which the phone calls codecs (in the spelling of
	// Invite.Codecs) in its descriptions, answers too. It sends by those of the far
	// side, as RFC 3264 §5.1 says.
	Numbers map[string]uint8

	// Lose is asked for each RTP packet about to be sent, on the sending goroutine;
	// true loses it. nil = none is lost.
	Lose func(packet []byte) bool
	// Jitter delays each RTP packet by a random time between 0 and this, so that their
	// order changes. What is delayed when the call ends is lost. Each call has the same
	// delays, those that Seed leads to.
	Jitter time.Duration
	Seed   uint64
	// Drift is how many ppm the sample clock runs fast; negative, slow. Up to half.
	Drift float64
}

// A Phone is a user agent with one SIP address. Make one with New, and Close it.
type Phone struct {
	o     Options
	log   *slog.Logger
	layer *siptx.Layer
	addr  netip.AddrPort
	ready chan struct{} // closed once addr is set: the first call may come before

	mu      sync.Mutex
	wg      sync.WaitGroup
	closed  bool
	stop    chan struct{} // closed by Close
	calls   map[callKey]*Call
	invites map[*siptx.ServerTx][]*Call // not yet ended; more than one if forked
	records map[string]*record          // by Call-ID
}

type callKey struct{ id, tag string } // Call-ID and our tag

// New makes a phone that can call and be called.
func New(o Options) (*Phone, error) {
	if o.Network == "" {
		o.Network = "udp"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Timers.T1 <= 0 {
		o.Timers.T1 = 500 * time.Millisecond
	}
	if o.Timers.T2 <= 0 {
		o.Timers.T2 = 4 * time.Second
	}
	if !(math.Abs(o.Drift) <= 500e3) {
		return nil, errors.New("phone: a sample clock cannot drift that much")
	}
	p := &Phone{o: o, log: o.Log, stop: make(chan struct{}), ready: make(chan struct{}), calls: make(map[callKey]*Call),
		invites: make(map[*siptx.ServerTx][]*Call), records: make(map[string]*record)}
	layer, err := siptx.New(siptx.Options{Log: o.Log, Timers: o.Timers, Trace: p.trace, Handler: handler{p}, Credentials: p.credentials()})
	if err != nil {
		return nil, err
	}
	p.layer = layer
	addr, err := layer.Listen(o.Network, netip.AddrPortFrom(o.IP, o.Port))
	if err != nil {
		return nil, errors.Join(err, layer.Close())
	}
	p.addr = addr
	close(p.ready)
	return p, nil
}

func (p *Phone) credentials() func() *siptx.Credentials {
	if p.o.Credentials == nil {
		return nil
	}
	return func() *siptx.Credentials { return p.o.Credentials }
}

// Addr is the SIP address of the phone.
func (p *Phone) Addr() netip.AddrPort { return p.addr }

// Close ends everything at once, without a word to the far side (Call.Hangup says
// goodbye), and waits until nothing of the phone runs any more.
func (p *Phone) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.stop)
	calls := make([]*Call, 0, len(p.calls))
	for _, c := range p.calls {
		calls = append(calls, c)
	}
	p.mu.Unlock()
	for _, c := range calls {
		c.mu.Lock()
		c.finish(End{ByUs: true, Err: errClosed})
		c.mu.Unlock()
	}
	err := p.layer.Close()
	p.wg.Wait()
	return err
}

// spawn runs f on a goroutine that Close waits for, unless the phone is closed.
func (p *Phone) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.wg.Go(f)
	return true
}

// keep enters a call in the tables.
func (p *Phone) keep(c *Call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	p.calls[callKey{c.dialog.id, c.dialog.local.tag}] = c
	if c.server != nil {
		p.invites[c.server] = append(p.invites[c.server], c)
	}
	return nil
}

func (p *Phone) find(id, tag string) *Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[callKey{id, tag}]
}

// record gives the record of a Call-ID, made if it is not there.
func (p *Phone) record(id string) *record {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.records[id]
	if r == nil {
		r = &record{}
		p.records[id] = r
	}
	return r
}

// trace keeps every message under its Call-ID.
func (p *Phone) trace(t siptx.Traced) {
	if id, ok := callID(t.Raw); ok {
		p.record(id).message(t)
	}
}

// handler keeps siptx's callbacks out of the phone's own methods.
type handler struct{ p *Phone }

// OnRequest sorts a request by whether it belongs to a call.
func (h handler) OnRequest(tx *siptx.ServerTx, req *sip.Request) {
	<-h.p.ready // New is about to set the address
	if tag := tagOf(req.To()); tag != "" {
		if c := h.p.find(string(*req.CallID()), tag); c != nil {
			c.onRequest(tx, req)
		} else {
			h.p.reply(tx, req, 481)
		}
		return
	}
	switch req.Method {
	case sip.INVITE:
		h.p.onInvite(tx, req)
	case sip.OPTIONS, sip.MESSAGE, sip.NOTIFY:
		h.p.reply(tx, req, 200)
	case sip.BYE, sip.UPDATE, sip.INFO, sip.PRACK:
		h.p.reply(tx, req, 481)
	default:
		h.p.reply(tx, req, 405)
	}
}

// OnAck ends the retransmission of a 2xx.
func (h handler) OnAck(req *sip.Request) {
	if c := h.p.find(string(*req.CallID()), tagOf(req.To())); c != nil {
		c.onAck(req)
	}
}

// OnCancel ends what the INVITE has begun (RFC 3261 §9.2).
func (h handler) OnCancel(invite *siptx.ServerTx, cancel *sip.Request) {
	h.p.mu.Lock()
	calls := h.p.invites[invite]
	h.p.mu.Unlock()
	for _, c := range calls {
		c.onCancel(cancel)
	}
}

// OnStray acknowledges and ends what a 2xx has set up that nobody waits for any more.
func (h handler) OnStray(res *sip.Response, _ netip.AddrPort) {
	if res.CSeq().MethodName != sip.INVITE || res.StatusCode/100 != 2 {
		return
	}
	if c := h.p.find(string(*res.CallID()), tagOf(res.From())); c != nil {
		c.onOutcome(siptx.Outcome{Res: res})
	}
}

// reply answers a request outside of any call.
func (p *Phone) reply(tx *siptx.ServerTx, req *sip.Request, status int) {
	res := response(req, status, "", newTag())
	res.AppendHeader(sip.NewHeader("Allow", allow))
	add(res, p.o.Headers)
	p.respond(tx, res)
}

// respond sends a response where nothing can be done about a failure.
func (p *Phone) respond(tx *siptx.ServerTx, res *sip.Response) {
	if err := tx.Respond(res); err != nil {
		p.log.Debug("phone: response not sent", "status", res.StatusCode, "error", err)
	}
}

// onInvite starts an incoming call.
func (p *Phone) onInvite(tx *siptx.ServerTx, req *sip.Request) {
	if p.o.OnCall == nil {
		p.reply(tx, req, 486)
		return
	}
	if word := strange(req); word != "" { // §8.2.2.3
		res := response(req, 420, "Bad Extension", newTag())
		res.AppendHeader(sip.NewHeader("Unsupported", word))
		p.respond(tx, res)
		return
	}
	c := p.newCall()
	c.server, c.request = tx, req
	c.dialog = dialogOf(req, siptx.Target{Network: tx.Network(), Addr: tx.Source()}, newTag())
	c.log = p.record(c.dialog.id)
	c.seen = seenIn(req)
	if p.keep(c) != nil || !p.spawn(func() { p.o.OnCall(c) }) {
		p.reply(tx, req, 503)
	}
}

// An Outside is a request outside of any call.
type Outside struct {
	Request
	To  string         // user part of the Request-URI, may be empty
	Via netip.AddrPort // where to send it
}

// Ask sends a request outside of any call, such as OPTIONS, and gives its final response.
func (p *Phone) Ask(ctx context.Context, o Outside) (*Response, error) {
	me := party{uri: sip.Uri{Scheme: "sip", Host: p.addr.Addr().String(), Port: int(p.addr.Port())}, tag: newTag()}
	d := dialog{id: newTag(), local: me, remote: partyOf("", o.To, o.Via, ""), hop: siptx.Target{Network: p.o.Network, Addr: o.Via}}
	d.target = d.remote.uri
	return p.ask(ctx, &d, 1, o.Request)
}
