package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"tandem/internal/config"
	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/g711"
	"tandem/internal/voice/prompt"
	"tandem/internal/voice/record"
	"tandem/internal/voice/relay"
)

// newRelay makes the media engine for the settings.
func newRelay(c config.Config, log *slog.Logger) (*relay.Engine, error) {
	bind := c.SIPListen[0].Addr.Addr()
	if c.MediaIP.IsValid() && isLocal(c.MediaIP) {
		bind = c.MediaIP
	}
	return relay.New(relay.Options{IP: bind, Advertise: c.AdvertisedMedia(), MinPort: c.MediaPorts.First,
		MaxPort: c.MediaPorts.Last, Log: log})
}

// isLocal reports whether this host has the address; a public address before a
// NAT is not bound, only told.
func isLocal(a netip.Addr) bool {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// media gives b2bua the relay, what is said over it and the recorder: the one
// place where they meet.
type media struct {
	engine   *relay.Engine
	sounds   *prompt.Library
	recorder *record.Recorder
}

func (m media) Open() (b2bua.Session, error) {
	s, err := m.engine.Open()
	if err != nil {
		return nil, err
	}
	return &session{s: s, m: m}, nil
}

// Resume opens the media of a call of an earlier process.
func (m media) Resume(state []byte) (b2bua.Session, error) { return m.again(state, m.engine.Resume) }

func (m media) again(state []byte, open func(relay.SessionState) (*relay.Session, error)) (b2bua.Session, error) {
	var st relay.SessionState
	if err := json.Unmarshal(state, &st); err != nil {
		return nil, errors.New("the state of a call's media cannot be read")
	}
	s, err := open(st)
	if err != nil {
		return nil, err
	}
	return &session{s: s, m: m}, nil
}

// Move opens the media of a call of another node here.
func (m media) Move(state []byte) (b2bua.Session, error) { return m.again(state, m.engine.Move) }

func (m media) Spare() bool { return m.engine.Spare() }

// session is the media of one call. The call's goroutine owns all but s.
type session struct {
	s       *relay.Session
	m       media
	streams [2]b2bua.Stream // as last connected
	ears    [2]ear
	keys    [2]func(digit byte) // who is told of each side's keys; nil = nobody
	tape    *record.Recording
}

func (s *session) Local(side b2bua.Side) netip.AddrPort { return s.s.Local(relaySide(side)) }

func (s *session) Connect(side b2bua.Side, to b2bua.Stream) error {
	r := relay.Remote{RTP: to.RTP, RTCP: to.RTCP, Payloads: to.Payloads, Tables: to.Tables,
		Clock: to.Clocks, Send: to.Send, Receive: to.Receive}
	if k := to.Keys; k != nil {
		r.Keys = &relay.Keys{Suite: string(k.Suite), In: k.In, Out: k.Out}
	}
	err := s.s.Connect(relaySide(side), r)
	if err != nil {
		return err
	}
	from := s.streams[side]
	s.streams[side] = to
	if s.keys[side] != nil && (from.Events != to.Events || to.Events > 127 && from.Laws != to.Laws) { // an offer of its own has changed how keys come
		s.Listen(side, s.keys[side])
	}
	if s.tape != nil {
		s.tape.SetLaws(relaySide(side), to.Laws)
	}
	return nil
}

func (s *session) LastHeard() [2]time.Time {
	last := s.s.Activity().Last
	return [2]time.Time{b2bua.A: last[relay.A], b2bua.B: last[relay.B]}
}

func (s *session) Seat() (b2bua.Seat, error) {
	seat, err := s.m.engine.Seat()
	if err != nil {
		return nil, err
	}
	return seat, nil
}

func (s *session) Take(seat b2bua.Seat) error {
	s.streams[b2bua.B] = b2bua.Stream{}
	return s.s.Take(relay.B, seat.(*relay.Seat))
}

// kinds are the tones by their names as sounds.
var kinds = map[b2bua.Sound]prompt.Kind{b2bua.ToneRingBack: prompt.RingBack, b2bua.ToneBusy: prompt.Busy,
	b2bua.ToneWarning: prompt.Warning}

func (s *session) Say(side b2bua.Side, w b2bua.Words) {
	to := s.streams[side]
	if to.VoiceLaw == g711.None {
		if w.Done != nil {
			w.Done()
		}
		return
	}
	speech := relay.Speech{Payload: to.Voice, Fill: to.VoiceLaw.Silence(), Done: w.Done}
	if kind, tone := kinds[w.Sound]; tone {
		if w.Sound != b2bua.ToneWarning {
			speech.Loop, speech.Done = true, nil
		}
		speech.Audio = s.m.sounds.Tone(w.Country, kind).Audio(to.VoiceLaw)
	} else {
		speech.Audio = s.m.sounds.Clip(string(w.Tenant), w.Language, prompt.Name(w.Sound)).Audio(to.VoiceLaw)
	}
	s.s.Play(relaySide(side), speech)
}

func (s *session) Hush(side b2bua.Side) { s.s.Silence(relaySide(side)) }

// Listen hears the keys of a side. When nobody listens any more, the key that is
// still held is kept from the other side all the same: it belongs to what was
// asked.
func (s *session) Listen(side b2bua.Side, heard func(digit byte)) {
	s.keys[side] = heard
	if old := s.ears[side]; heard == nil && old != nil {
		old.over()
		return
	}
	if heard == nil {
		return
	}
	from := s.streams[side]
	var e ear = &toneEar{tones: prompt.NewInband(), laws: from.Laws, heard: heard}
	if from.Events <= 127 {
		e = &eventEar{number: from.Events, events: prompt.NewEvents(from.Events), heard: heard}
	}
	s.ears[side] = e
	s.s.Listen(relaySide(side), e)
}

// ear hears keys until it is over.
type ear interface {
	relay.Ear
	over()
}

// eventEar hears keys that are told as telephone-events. The packet path owns all
// but done.
type eventEar struct {
	number uint8
	events *prompt.Events
	heard  func(digit byte)
	done   atomic.Bool

	ssrc, timestamp uint32 // of the key pressed last
}

func (e *eventEar) over() { e.done.Store(true) }

// Hear keeps the packets of keys that were pressed for us from the other side.
func (e *eventEar) Hear(p *relay.Packet) (pass bool) {
	switch {
	case p.Payload != e.number:
		return true
	case e.done.Load():
		return p.SSRC != e.ssrc || p.Timestamp != e.timestamp
	}
	e.ssrc, e.timestamp = p.SSRC, p.Timestamp
	if digit, ok := e.events.Packet(p.Payload, p.Sequence, p.Timestamp, p.SSRC, p.Media); ok {
		e.heard(digit)
	}
	return false
}

// toneEar hears keys by their tones. The packet path owns all but done.
type toneEar struct {
	tones *prompt.Inband
	laws  [128]g711.Law
	heard func(digit byte)
	done  atomic.Bool
	quiet bool // the last key was released after that: nothing is listened for any more

	sequence uint16 // of the next packet, if none is lost
	next     uint32 // its timestamp, if nothing is left out
}

// pause is what a sender leaves out that does not send silence (RFC 3551 §4.1).
// One of 100 ms ends every tone.
var pause = [2][]byte{bytes.Repeat([]byte{g711.ALaw.Silence()}, g711.Rate/10), bytes.Repeat([]byte{g711.ULaw.Silence()}, g711.Rate/10)}

func (e *toneEar) over() { e.done.Store(true) }

// Hear keeps the last key from the other side as long as it is held.
func (e *toneEar) Hear(p *relay.Packet) (pass bool) {
	law := e.laws[p.Payload&0x7f]
	if e.quiet || law == g711.None {
		return true
	}
	if gap := int32(p.Timestamp - e.next); p.Sequence == e.sequence && gap > 0 {
		silence := pause[law-g711.ALaw]
		e.take(law, silence[:min(int(gap), len(silence))])
	}
	e.sequence, e.next = p.Sequence+1, p.Timestamp+uint32(len(p.Media))
	e.take(law, p.Media)
	e.quiet = e.done.Load() && !e.tones.Held()
	return !e.done.Load() || e.quiet
}

// take listens to a piece of sound.
func (e *toneEar) take(law g711.Law, sound []byte) {
	for digit, ok := e.tones.Samples(law, sound); ok; digit, ok = e.tones.Samples(law, nil) {
		if !e.done.Load() {
			e.heard(digit)
		}
	}
}

func (s *session) Record(call masking.CallID, tenant masking.TenantID) {
	if s.tape != nil {
		return
	}
	s.tape = s.m.recorder.Start(record.Spec{Call: call, Tenant: tenant,
		Laws: [2][128]g711.Law{relay.A: s.streams[b2bua.A].Laws, relay.B: s.streams[b2bua.B].Laws}})
	s.s.Record(s.tape)
}

func (s *session) State() any { return s.s.State() }

func (s *session) Trust(side b2bua.Side) { s.s.Trust(relaySide(side)) }

func (s *session) Close() masking.Quality {
	of := s.s.Close()
	if s.tape != nil {
		s.tape.Stop()
	}
	return masking.Quality{Caller: quality(of[relay.A]), Callee: quality(of[relay.B])}
}

func quality(s relay.SideStats) masking.LegQuality {
	return masking.LegQuality{Received: s.PacketsIn, Sent: s.PacketsOut, Lost: s.Lost, Strays: s.Strays, Jitter: s.Jitter,
		RoundTrip: s.RoundTrip, Reported: s.PeerReported, PeerLost: s.PeerLost, PeerJitter: s.PeerJitter}
}

func relaySide(s b2bua.Side) relay.Side {
	if s == b2bua.A {
		return relay.A
	}
	return relay.B
}

// outgoing gives b2bua the trunks; the agent exists only after the exchange.
type outgoing struct{ a *App }

func (o outgoing) Outgoing(callerID e164.Number) []b2bua.Trunk { return o.a.agent.Outgoing(callerID) }
