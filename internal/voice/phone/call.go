package phone

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/sdp"
	"tandem/internal/voice/siptx"
)

type phase uint8

const (
	calling phase = iota // no final response yet
	talking              // answered
	leaving              // our BYE is out
	over
)

// A Call is one call of a phone, from its INVITE on. Its methods may be used from
// any goroutine; those with a context wait, the others do not.
type Call struct {
	p       *Phone
	caller  bool
	log     *record
	server  *siptx.ServerTx // callee
	request *sip.Request    // callee: the INVITE
	done    chan struct{}   // closed when the call is over

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced whenever what follows changes
	phase     phase
	rang      bool
	confirmed bool // ACK sent or seen
	cancelled bool // by us
	end       End
	seen      Seen
	dialog    dialog
	session   session
	voice     *voice
	said      []byte // callee: the description given so far, which does not change
	agreed    agreement
	invite    *siptx.ClientTx
	early     map[string]*early // caller: by the far side's tag
	reliable  reliable          // callee
	ackBody   []byte
	unacked   map[uint32]*unacked // 2xx of ours without ACK, by CSeq
	refuses   *refusal            // the next offer within the call; nil = none
}

// End says how a call ended.
type End struct {
	ByUs   bool   // this side ended or cancelled it
	Status int    // of the INVITE's final response, if that refused it
	Reason string // the Reason header field of a BYE or CANCEL, or the reason phrase of Status, as written
	Err    error  // nothing was heard any more, or the phone was closed
}

// Seen is what one side was shown. It holds numbers as they came.
type Seen struct {
	RequestUser string // callee: user part of the Request-URI
	From        string // callee: user part of From; that is the caller ID
	FromDisplay string
	To          string // user part of To
	Asserted    string // P-Asserted-Identity; for the caller, of the last response
	Contact     string // user part of Contact, likewise
}

func newTag() string { return rand.Text() }

func (p *Phone) newCall() *Call {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return &Call{p: p, done: make(chan struct{}), changed: make(chan struct{}), unacked: make(map[uint32]*unacked), early: make(map[string]*early),
		session: session{id: binary.BigEndian.Uint64(id[:]) >> 2, direction: sdp.SendRecv, numbers: p.o.Numbers,
			security: security{profile: p.o.SRTP, suite: p.o.Suite, mux: p.o.Mux}}}
}

// notify wakes those who wait. The caller holds c.mu.
func (c *Call) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits until ready says so; ready is called with c.mu held.
func (c *Call) await(ctx context.Context, ready func() (bool, error)) error {
	for {
		c.mu.Lock()
		ok, err := ready()
		changed := c.changed
		c.mu.Unlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// failure is the error of a call that is over. The caller holds c.mu.
func (c *Call) failure() error {
	switch {
	case c.end.Err != nil:
		return c.end.Err
	case c.end.Status != 0:
		return &StatusError{c.end.Status, c.end.Reason}
	}
	return errState
}

// Ringing waits for a provisional response above 100, or for having sent one. An
// answer without one is an error, as is any other end.
func (c *Call) Ringing(ctx context.Context) error {
	return c.await(ctx, func() (bool, error) {
		switch {
		case c.rang:
			return true, nil
		case c.phase == over:
			return false, c.failure()
		case c.phase != calling:
			return false, errState
		}
		return false, nil
	})
}

// Answered waits until the call is answered and the ACK sent or seen. A refusal is
// a *StatusError.
func (c *Call) Answered(ctx context.Context) error {
	return c.await(ctx, func() (bool, error) {
		switch {
		case c.confirmed && !c.cancelled:
			return true, nil
		case c.phase == over:
			return false, c.failure()
		}
		return false, nil
	})
}

// Ended waits until the call is over and nothing of it is under way any more.
func (c *Call) Ended(ctx context.Context) (End, error) {
	err := c.await(ctx, func() (bool, error) { return c.phase == over, nil })
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end, err
}

// Done is closed when the call is over.
func (c *Call) Done() <-chan struct{} { return c.done }

// Said waits until the Source has ended and all of it is sent, or the call is over.
func (c *Call) Said(ctx context.Context) error {
	c.mu.Lock()
	v := c.voice
	c.mu.Unlock()
	if v == nil {
		return errState
	}
	for {
		said, ended := v.saying()
		if ended {
			return nil
		}
		select {
		case <-said:
		case <-c.done:
			return errState
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Say replaces what we say, from now on; what was being said is not said to its end, and
// Said waits for the new.
func (c *Call) Say(s Source) {
	c.mu.Lock()
	v := c.voice
	c.mu.Unlock()
	if v != nil {
		v.say(s)
	}
}

// Seen tells what this side was shown so far.
func (c *Call) Seen() Seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen
}

// Heard is what this side has heard so far: 8 kHz PCM in the order of the RTP
// timestamps, what is missing as silence. Packets from an address that the far side
// has not named are not heard.
func (c *Call) Heard() (pcm []int16) {
	c.listen(func(heard []int16) { pcm = slices.Clone(heard) })
	return pcm
}

// Hearing counts the RTP received so far.
func (c *Call) Hearing() Hearing {
	return c.listen(func([]int16) {})
}

// listen lends look what is heard so far.
func (c *Call) listen(look func(pcm []int16)) Hearing {
	c.mu.Lock()
	v := c.voice
	c.mu.Unlock()
	if v == nil {
		return Hearing{}
	}
	return v.ear.listen(look)
}

// HearsTone waits until a second of what is heard, the latest, is a tone of hz
// (Tone above 0.9).
func (c *Call) HearsTone(ctx context.Context, hz float64) error {
	return c.hears(ctx, func(pcm []int16) bool {
		return len(pcm) >= Rate && Tone(pcm[len(pcm)-Rate:], hz) > 0.9
	})
}

// SendsTo is where the call's RTP goes now; invalid before offer and answer.
func (c *Call) SendsTo() netip.AddrPort {
	c.mu.Lock()
	v := c.voice
	c.mu.Unlock()
	if v == nil {
		return netip.AddrPort{}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now.to
}

// Hears waits until at least n samples have been heard.
func (c *Call) Hears(ctx context.Context, n int) error {
	return c.hears(ctx, func(pcm []int16) bool { return len(pcm) >= n })
}

// Digits is what the far side has pressed so far, by RFC 4733 or INFO, each once
// however many packets told it. Digits in band are only heard.
func (c *Call) Digits() string {
	c.mu.Lock()
	v := c.voice
	c.mu.Unlock()
	if v == nil {
		return ""
	}
	return v.ear.digits()
}

// HearsDigits waits until at least n digits have come.
func (c *Call) HearsDigits(ctx context.Context, n int) error {
	return c.arrives(ctx, 1, func(e *ear) bool { return len(e.digits()) >= n })
}

// finish ends the call. Only the first end counts. The caller holds c.mu.
func (c *Call) finish(e End) {
	if c.phase == over {
		return
	}
	c.phase, c.end = over, e
	if c.voice != nil {
		c.voice.close()
	}
	if c.server != nil {
		c.p.mu.Lock()
		delete(c.p.invites, c.server)
		c.p.mu.Unlock()
	}
	close(c.done)
	c.notify()
	c.p.log.Debug("phone: call over", "by_us", e.ByUs, "status", e.Status, "error", e.Err)
}

// seenIn reads what a message shows.
func seenIn(m sip.Message) Seen {
	s := Seen{From: m.From().Address.User, FromDisplay: m.From().DisplayName, To: m.To().Address.User}
	if r, ok := m.(*sip.Request); ok {
		s.RequestUser = r.Recipient.User
	}
	s.update(m)
	return s
}

func (s *Seen) update(m sip.Message) {
	if h := m.GetHeaders("P-Asserted-Identity"); len(h) > 0 {
		s.Asserted = h[0].Value()
	}
	for _, h := range m.GetHeaders("Contact") {
		if c, ok := h.(*sip.ContactHeader); ok {
			s.Contact = c.Address.User
		}
	}
}
