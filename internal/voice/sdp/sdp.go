// Package sdp reads the session descriptions that phones and carriers send and
// builds our own from nothing (RFC 4566, RFC 3264).
//
// Reading is tolerant: lines may stand in any order, end in CRLF, LF or CR,
// lack the last line end, or be unknown; every line is kept as it came.
// Building is strict: a description that goes out holds our address, our
// session id and what an allow-list names (codec.go), so nothing that
// identifies the far side can cross from leg to leg. The package knows no SIP
// and opens no socket; voice/b2bua and voice/sipua call it.
package sdp

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
)

// Refusals. The signalling side answers each of them with 488 (RFC 3261
// §21.4.26); none quotes the description, which may hold a telephone number.
var (
	// ErrMalformed is wrapped by every error of Parse.
	ErrMalformed = errors.New("malformed session description")
	// ErrNoAudio means that no audio stream over RTP, or over SRTP with keys that
	// we can use, is open.
	ErrNoAudio = errors.New("no usable audio stream")
	// ErrNoCommonCodec means that no speech codec is left that both legs and
	// the allow-list know. telephone-event and comfort noise are not speech.
	ErrNoCommonCodec = errors.New("no common codec")
	// ErrNotProtected means that a side wants SRTP or nothing, and got no key.
	ErrNotProtected = errors.New("no SRTP where it must be")
)

// Direction is what the sender of a description does with a stream, seen from
// that sender (RFC 4566 §6).
type Direction string

// The four directions. A stream without an attribute is SendRecv.
const (
	SendRecv Direction = "sendrecv"
	SendOnly Direction = "sendonly"
	RecvOnly Direction = "recvonly"
	Inactive Direction = "inactive"
)

// Sends reports whether the describing side sends media.
func (d Direction) Sends() bool { return d == SendRecv || d == SendOnly || d == "" }

// Receives reports whether the describing side wants media.
func (d Direction) Receives() bool { return d == SendRecv || d == RecvOnly || d == "" }

// DirectionOf is the direction of a side that sends and receives as told.
func DirectionOf(sends, receives bool) Direction {
	switch {
	case sends && receives:
		return SendRecv
	case sends:
		return SendOnly
	case receives:
		return RecvOnly
	}
	return Inactive
}

// Line is one line as it was received, without its line end. Type is the letter
// before "=", or 0 for a line that has no such form; Value is the rest.
type Line struct {
	Type  byte
	Value string
}

// Format prints the type alone: a value can be a key, or hold a telephone number.
func (l Line) Format(s fmt.State, _ rune) { _, _ = fmt.Fprintf(s, "%c=…", cmp.Or(l.Type, '?')) }

// MarshalText is Format for encoders, such as that of a log.
func (l Line) MarshalText() ([]byte, error) { return fmt.Append(nil, l), nil }

// Format is one entry of an RTP stream's format list.
type Format struct {
	Payload  uint8  // payload type number, 0 to 127
	Codec    string // registered spelling if we know it ("PCMA", "opus"), else as written; "" if unknown
	Clock    int    // RTP clock in Hz
	Channels int    // at least 1
	Params   string // value of a=fmtp as written, without the payload number
}

// Media is one m= section.
type Media struct {
	Type, Proto string // as written: "audio", "RTP/AVP"
	// Addr is where the describing side wants RTP: the c= that applies and the
	// port of m=. It is invalid where no literal address applies; its host is
	// unspecified (0.0.0.0, ::) for a hold in the style of RFC 2543.
	Addr netip.AddrPort
	// RTCP is where it wants RTCP: a=rtcp (RFC 3605), else the port after
	// Addr's. Invalid when there is none.
	RTCP netip.AddrPort
	// Direction is the media's own, else the session's, else SendRecv; an
	// unspecified Addr takes "receives" away from it.
	Direction       Direction
	Formats         []Format // RTP only, in order of preference, no number twice
	Ptime, MaxPtime int      // ms, 0 = not given
	Crypto          []Crypto // keys that we can use, in order of preference
	Mux             bool     // RTCP may come to the port of RTP (RFC 5761)
	Lines           []Line   `json:"-"` // the section as received, m= first
}

// Description is a parsed session description.
type Description struct {
	Direction Direction // session-level attribute, "" if there is none
	Media     []Media
	Lines     []Line `json:"-"` // the session section as received
}

// isAudio reports whether m is an open audio stream that we can carry: over RTP, or
// over SRTP with a key.
func (m Media) isAudio() bool {
	return strings.EqualFold(m.Type, "audio") && m.Addr.Port() != 0 &&
		(strings.EqualFold(m.Proto, plainProto) || m.secure() && len(m.Crypto) > 0)
}

// audioIndex is the position of the first stream that we carry, -1 if none.
func (d *Description) audioIndex() int {
	if d == nil {
		return -1
	}
	for i, m := range d.Media {
		if m.isAudio() {
			return i
		}
	}
	return -1
}

// Audio gives the one stream that we carry: the first audio stream with a port
// over RTP/AVP, or over RTP/SAVP with a key. Every other stream (DTLS, AVPF, video,
// image) is refused by Anchor with port 0; with none left, and for nil, ok is false.
func (d *Description) Audio() (m Media, ok bool) {
	if i := d.audioIndex(); i >= 0 {
		return d.Media[i], true
	}
	return Media{}, false
}

// Held reports whether the describing side asks us to send nothing: sendonly,
// inactive or an unspecified address (RFC 3264 §8.4).
func (m Media) Held() bool { return !m.Direction.Receives() }

// LogValue tells the shape of a description and nothing that was written in
// it: names, addresses and unknown parameters can hold a telephone number.
func (d *Description) LogValue() slog.Value {
	if d == nil {
		return slog.StringValue("none")
	}
	var codecs []string
	direction := Inactive
	if m, ok := d.Audio(); ok {
		direction = m.Direction
		for _, f := range m.Formats {
			if _, known := codecFor(f); known {
				codecs = append(codecs, f.Codec)
			}
		}
	}
	return slog.GroupValue(slog.Int("media", len(d.Media)), slog.String("direction", string(direction)),
		slog.String("codecs", strings.Join(codecs, ",")))
}

// Format prints LogValue, whatever the verb, so that a stray %v says no more than it.
func (d Description) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, d.LogValue()) }
