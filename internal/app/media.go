package app

import (
	"log/slog"
	"net"
	"net/netip"
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

// session is the media of one call. The call's goroutine owns all but s.
type session struct {
	s       *relay.Session
	m       media
	streams [2]b2bua.Stream // as last connected
	tape    *record.Recording
}

func (s *session) Local(side b2bua.Side) netip.AddrPort { return s.s.Local(relaySide(side)) }

func (s *session) Connect(side b2bua.Side, to b2bua.Stream) error {
	err := s.s.Connect(relaySide(side), relay.Remote{RTP: to.RTP, RTCP: to.RTCP, Payloads: to.Payloads, Tables: to.Tables,
		Clock: to.Clocks, Send: to.Send, Receive: to.Receive})
	if err != nil {
		return err
	}
	s.streams[side] = to
	if s.tape != nil {
		s.tape.SetLaws(relaySide(side), to.Laws)
	}
	return nil
}

func (s *session) LastHeard() [2]time.Time {
	last := s.s.Activity().Last
	return [2]time.Time{b2bua.A: last[relay.A], b2bua.B: last[relay.B]}
}

func (s *session) Reopen(side b2bua.Side) error {
	s.streams[side] = b2bua.Stream{}
	return s.s.Reopen(relaySide(side))
}

// kinds are the tones by their names as sounds.
var kinds = map[b2bua.Sound]prompt.Kind{b2bua.ToneRingBack: prompt.RingBack, b2bua.ToneBusy: prompt.Busy}

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
		speech.Loop, speech.Done = true, nil
		speech.Audio = s.m.sounds.Tone(w.Country, kind).Audio(to.VoiceLaw)
	} else {
		speech.Audio = s.m.sounds.Clip(string(w.Tenant), w.Language, prompt.Name(w.Sound)).Audio(to.VoiceLaw)
	}
	s.s.Play(relaySide(side), speech)
}

func (s *session) Hush(side b2bua.Side) { s.s.Silence(relaySide(side)) }

func (s *session) Listen(side b2bua.Side, heard func(digit byte)) {
	if heard == nil {
		s.s.Listen(relaySide(side), nil)
		return
	}
	from := s.streams[side]
	if from.Events <= 127 {
		s.s.Listen(relaySide(side), &eventEar{prompt.NewEvents(from.Events), heard})
		return
	}
	s.s.Listen(relaySide(side), &toneEar{prompt.NewInband(), from.Laws, heard})
}

// eventEar hears keys that are told as telephone-events.
type eventEar struct {
	events *prompt.Events
	heard  func(digit byte)
}

func (e *eventEar) Packet(p *relay.Packet) {
	if digit, ok := e.events.Packet(p.Payload, p.Sequence, p.Timestamp, p.SSRC, p.Media); ok {
		e.heard(digit)
	}
}

// toneEar hears keys by their tones.
type toneEar struct {
	tones *prompt.Inband
	laws  [128]g711.Law
	heard func(digit byte)
}

func (e *toneEar) Packet(p *relay.Packet) {
	law := e.laws[p.Payload&0x7f]
	if law == g711.None {
		return
	}
	if digit, ok := e.tones.Samples(law, p.Media); ok {
		e.heard(digit)
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

func (s *session) Close() {
	s.s.Close()
	if s.tape != nil {
		s.tape.Stop()
	}
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
