package app

import (
	"log/slog"
	"net"
	"net/netip"
	"time"

	"tandem/internal/config"
	"tandem/internal/e164"
	"tandem/internal/voice/b2bua"
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

// media gives b2bua the relay: the one place where the two meet.
type media struct{ engine *relay.Engine }

func (m media) Open() (b2bua.Session, error) {
	s, err := m.engine.Open()
	if err != nil {
		return nil, err
	}
	return session{s}, nil
}

type session struct{ s *relay.Session }

func (s session) Local(side b2bua.Side) netip.AddrPort { return s.s.Local(relaySide(side)) }

func (s session) Connect(side b2bua.Side, to b2bua.Stream) error {
	return s.s.Connect(relaySide(side), relay.Remote{RTP: to.RTP, RTCP: to.RTCP, Payloads: to.Payloads,
		Clock: to.Clocks, Send: to.Send, Receive: to.Receive})
}

func (s session) LastHeard() [2]time.Time {
	last := s.s.Activity().Last
	return [2]time.Time{b2bua.A: last[relay.A], b2bua.B: last[relay.B]}
}

func (s session) Close() { s.s.Close() }

func relaySide(s b2bua.Side) relay.Side {
	if s == b2bua.A {
		return relay.A
	}
	return relay.B
}

// outgoing gives b2bua the trunks; the agent exists only after the exchange.
type outgoing struct{ a *App }

func (o outgoing) Outgoing(callerID e164.Number) []b2bua.Trunk { return o.a.agent.Outgoing(callerID) }
