package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// This file is SRTP (RFC 3711, RFC 7714): what protects the packets of one side on
// the wire. Everything else of the relay, taps and speech included, sees plain RTP.

// Keys protect the media of a side.
type Keys struct {
	Suite   string // by the name that SDES gives it
	In, Out []byte // master key and salt: of what arrives from the side, of what leaves to it
}

// Format prints the suite alone.
func (k Keys) Format(s fmt.State, _ rune) { _, _ = fmt.Fprintf(s, "(keys of %s)", k.Suite) }

// MarshalText is Format for encoders, such as that of a log.
func (k Keys) MarshalText() ([]byte, error) { return fmt.Append(nil, k), nil }

const (
	saltSize     = 14  // of AES in counter mode; AEAD's is saltSizeAEAD
	saltSizeAEAD = 12  //
	replayWindow = 128 // packets of one source that may come late
	sealRoom     = 16  // octets that protection makes a packet longer by, at most
)

// profile is the pion name of a suite, and the size of its salt.
func profile(suite string) (p srtp.ProtectionProfile, salt int, err error) {
	switch suite {
	case "AEAD_AES_128_GCM":
		return srtp.ProtectionProfileAeadAes128Gcm, saltSizeAEAD, nil
	case "AES_CM_128_HMAC_SHA1_80":
		return srtp.ProtectionProfileAes128CmHmacSha1_80, saltSize, nil
	case "AES_CM_128_HMAC_SHA1_32":
		return srtp.ProtectionProfileAes128CmHmacSha1_32, saltSize, nil
	}
	return 0, 0, fmt.Errorf("SRTP suite %q is not known", suite)
}

// newContext is a cryptographic context of a suite with one master key. Errors tell
// nothing of the key.
func newContext(suite string, key []byte) (*srtp.Context, error) {
	p, salt, err := profile(suite)
	if err != nil {
		return nil, err
	}
	size, err := p.KeyLen()
	if err != nil || len(key) != size+salt {
		return nil, fmt.Errorf("the SRTP key has %d octets, which %s does not want", len(key), suite)
	}
	return srtp.CreateContext(key[:size], key[size:], p,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
}

// An opener undoes the protection of what arrives from a side. The side's mu
// guards it.
type opener struct {
	suite   string
	key     []byte
	context *srtp.Context
	header  rtp.Header // memory for reading one
	before  *opener    // with the keys that it took the place of, until a first packet came
	room    []byte     // for opening that one, whose keys may not fit
	ssrc    uint32     // of the packet that came last
	sources [16]uint32 // that have shown that they have the key: each is remembered for as long as it is used
	known   int        // of them
}

// admits reports whether an SSRC is known, or can become so.
func (o *opener) admits(ssrc uint32) bool {
	return o.known < len(o.sources) || slices.Contains(o.sources[:o.known], ssrc)
}

// learn keeps the SSRC of a packet that was authentic.
func (o *opener) learn(ssrc uint32) {
	if !slices.Contains(o.sources[:o.known], ssrc) && o.known < len(o.sources) {
		o.sources[o.known] = ssrc
		o.known++
	}
}

// newOpener makes the opener for keys; old, which may be nil, is given back when
// they are its own, so that a session refresh keeps what it counts.
func newOpener(k *Keys, old *opener) (*opener, error) {
	if k == nil {
		return nil, nil
	}
	if old != nil && old.suite == k.Suite && bytes.Equal(old.key, k.In) {
		return old, nil
	}
	c, err := newContext(k.Suite, k.In)
	if err != nil {
		return nil, err
	}
	o := &opener{suite: k.Suite, key: bytes.Clone(k.In), context: c, before: old}
	if old != nil {
		o.room = make([]byte, 0, maxPacket)
	}
	return o, nil
}

// rtp gives the plain packet of b, in its memory; false for one that is not of the
// holder of the key, comes a second time, or is of one source too many.
func (o *opener) rtp(b []byte) (plain []byte, ok bool) {
	if len(b) < 12 || !o.admits(binary.BigEndian.Uint32(b[8:])) {
		return nil, false
	}
	if o.before != nil {
		plain, ok = o.first(b)
	} else {
		var err error
		plain, err = o.context.DecryptRTP(b, b, &o.header)
		ok = err == nil
	}
	if ok {
		o.ssrc = o.header.SSRC
		o.learn(o.ssrc)
	}
	return plain, ok
}

// first opens what may be the first packet with new keys. Its rollover counter is
// not known: RFC 4568 §7.1.4 begins at 0 with a new key, RFC 3711 §3.3.1 goes on
// counting, and phones do either.
func (o *opener) first(b []byte) ([]byte, bool) {
	roc, counted := o.before.context.ROC(o.before.ssrc)
	for _, roc := range []uint32{0, roc, roc + 1} {
		if counted {
			o.context.SetROC(o.before.ssrc, roc)
		}
		plain, err := o.context.DecryptRTP(o.room, b, &o.header) // b is needed again if it fails
		if err == nil {
			b = append(b[:0], plain...)
			o.before, o.room = nil, nil
			return b, true
		}
		if !counted || o.before.ssrc != o.header.SSRC { // a source that is new as well begins at 0
			break
		}
	}
	return nil, false
}

// rtcp gives the plain report of b, in its memory.
func (o *opener) rtcp(b []byte) ([]byte, bool) {
	if len(b) < 8 || !o.admits(binary.BigEndian.Uint32(b[4:])) {
		return nil, false
	}
	ssrc := binary.BigEndian.Uint32(b[4:])
	var h rtcp.Header
	plain, err := o.context.DecryptRTCP(b, b, &h)
	if err == nil {
		o.learn(ssrc)
	}
	return plain, err == nil
}

// A sealer protects what leaves to a side. Media and reports leave under different
// locks, so each has one.
type sealer struct {
	suite   string
	key     []byte
	context *srtp.Context
	header  rtp.Header
}

// newSealer is as newOpener.
func newSealer(k *Keys, old *sealer) (*sealer, error) {
	if k == nil {
		return nil, nil
	}
	if old != nil && old.suite == k.Suite && bytes.Equal(old.key, k.Out) {
		return old, nil
	}
	c, err := newContext(k.Suite, k.Out)
	if err != nil {
		return nil, err
	}
	return &sealer{suite: k.Suite, key: bytes.Clone(k.Out), context: c}, nil
}

// rtp protects a packet of ours, in its memory if there is room of sealRoom behind it.
func (s *sealer) rtp(b []byte) ([]byte, error) { return s.context.EncryptRTP(b, b, &s.header) }

func (s *sealer) rtcp(b []byte) ([]byte, error) { return s.context.EncryptRTCP(nil, b, nil) }
