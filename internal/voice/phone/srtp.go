package phone

import (
	"slices"

	"github.com/pion/srtp/v3"

	"tandem/internal/voice/sdp"
)

// A guard protects what a call sends by SRTP (RFC 3711) and opens what it gets, by
// what its offer and answer have agreed on. The voice's mu guards it.
type guard struct {
	of      sdp.Protection
	out, in *srtp.Context
}

// newGuard gives old if nothing has changed, and nil for plain RTP.
func newGuard(p *sdp.Protection, old *guard) (*guard, error) {
	if p == nil {
		return nil, nil
	}
	if old != nil && old.of.Suite == p.Suite && slices.Equal(old.of.In, p.In) && slices.Equal(old.of.Out, p.Out) {
		return old, nil
	}
	profile, salt := srtp.ProtectionProfileAes128CmHmacSha1_80, 14
	switch p.Suite {
	case sdp.GCM:
		profile, salt = srtp.ProtectionProfileAeadAes128Gcm, 12
	case sdp.CM32:
		profile = srtp.ProtectionProfileAes128CmHmacSha1_32
	}
	make := func(k sdp.Key) (*srtp.Context, error) {
		return srtp.CreateContext(k[:len(k)-salt], k[len(k)-salt:], profile, srtp.SRTPReplayProtection(64), srtp.SRTCPReplayProtection(64))
	}
	g := &guard{of: *p}
	var err error
	if g.out, err = make(p.Out); err != nil {
		return nil, err
	}
	g.in, err = make(p.In)
	return g, err
}

// seal protects a packet or, with report, RTCP.
func (g *guard) seal(raw []byte, report bool) ([]byte, error) {
	switch {
	case g == nil:
		return raw, nil
	case report:
		return g.out.EncryptRTCP(nil, raw, nil)
	}
	return g.out.EncryptRTP(nil, raw, nil)
}

// open undoes seal.
func (g *guard) open(raw []byte, report bool) ([]byte, error) {
	switch {
	case g == nil:
		return raw, nil
	case report:
		return g.in.DecryptRTCP(nil, raw, nil)
	}
	return g.in.DecryptRTP(nil, raw, nil)
}

// isReport tells RTCP from RTP where both come to one port (RFC 5761 §4).
func isReport(raw []byte) bool { return len(raw) > 1 && raw[1] >= 192 && raw[1] <= 223 }

// security is what a session says of SRTP and rtcp-mux in its descriptions.
type security struct {
	profile sdp.Profile
	suite   sdp.Suite // the only one; "" = all
	mux     bool

	keys *sdp.Keys
	ours sdp.Media // what we have told last: transport, keys and mux alone
}

// offer sets what our next offer says.
func (s *security) offer() {
	s.ours = sdp.Media{Proto: s.profile.Proto(), Crypto: s.usable(s.drawn().Offered(s.profile, "")), Mux: s.mux}
}

// answer sets what our answer to an offer says, and reports whether there can be one.
func (s *security) answer(offer sdp.Media) bool {
	s.ours = sdp.Media{Proto: offer.Proto, Mux: s.mux && offer.Mux}
	if s.profile != sdp.Plain {
		s.ours.Crypto = s.drawn().Accepted(s.usable(offer.Crypto))
	}
	must := s.profile == sdp.Mandatory || offer.Proto == sdp.Mandatory.Proto()
	return !must || len(s.ours.Crypto) > 0
}

func (s *security) drawn() sdp.Keys {
	if s.keys == nil {
		k := sdp.NewKeys()
		s.keys = &k
	}
	return *s.keys
}

func (s *security) usable(list []sdp.Crypto) []sdp.Crypto {
	return slices.DeleteFunc(slices.Clone(list), func(c sdp.Crypto) bool { return s.suite != "" && c.Suite != s.suite })
}

// lines are the attributes of what we tell.
func (s *security) lines() (lines string) {
	for _, c := range s.ours.Crypto {
		lines += "a=" + c.Attribute() + "\r\n"
	}
	if s.ours.Mux {
		lines += "a=rtcp-mux\r\n"
	}
	return lines
}

// Protected is how the media of the call is protected now; "" is not at all.
func (c *Call) Protected() sdp.Suite {
	c.mu.Lock()
	v := c.voice
	c.mu.Unlock()
	if v == nil {
		return ""
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.guard == nil {
		return ""
	}
	return v.guard.of.Suite
}
