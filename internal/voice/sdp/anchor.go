package sdp

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"
)

// Local is our own end of one leg.
type Local struct {
	Addr netip.AddrPort // where our relay takes RTP; RTCP is the next port
	// SessionID and Version are those of o= (RFC 4566 §5.2): the first is kept
	// for the whole dialog, the second rises by one when, and only when, the
	// description differs from the last one sent (RFC 3264 §8); see Changed.
	SessionID, Version uint64
	// Keys are ours for this leg, for what we send under SRTP. Profile and Mux are
	// what an offer of ours says of SRTP and rtcp-mux; an answer follows the offer.
	Keys    Keys
	Suite   Suite // in use; "" = none yet
	Profile Profile
	Mux     bool
}

// Anchor builds an offer for one leg from the description of the other.
//
// What crosses: the number and order of streams, of the one audio stream its
// direction, ptime, maxptime and known codecs with their payload numbers and
// the fmtp parameters of the allow-list. Where one law of G.711 is among them the
// other is offered as well: the relay turns one into the other. Every other stream becomes a neutral
// one with port 0, and so does the audio when no codec is known: call CheckOffer
// first to refuse such an offer with 488. All else is ours.
func Anchor(src *Description, local Local) []byte {
	var keep Media
	i := src.audioIndex()
	if i >= 0 {
		keep = src.Media[i]
		keep.Formats = bothLaws(knownFormats(keep.Formats))
		keep.Proto, keep.Crypto, keep.Mux = local.Profile.Proto(), local.Keys.Offered(local.Profile, local.Suite), local.Mux
	}
	return build(src.Media, i, keep, local)
}

// CheckOffer reports whether Anchor and Answer can make something of d: nil,
// ErrNoAudio or ErrNoCommonCodec.
func CheckOffer(d *Description) error {
	m, ok := d.Audio()
	if !ok {
		return ErrNoAudio
	}
	if !anySpeech(m.Formats) {
		return ErrNoCommonCodec
	}
	return nil
}

// Changed reports whether two descriptions of ours differ in anything but o=.
// When they do, the later must carry the next Version; when not, the earlier
// is sent again as it is (RFC 3264 §8).
func Changed(last, next []byte) bool {
	return !bytes.Equal(withoutOrigin(last), withoutOrigin(next))
}

// withoutOrigin cuts the o= line out of a description built here.
func withoutOrigin(b []byte) []byte {
	head, rest, ok := bytes.Cut(b, []byte("\r\no="))
	if !ok {
		return b
	}
	_, rest, _ = bytes.Cut(rest, []byte("\r\n"))
	return bytes.Join([][]byte{head, rest}, []byte("\r\n"))
}

// Sum is equal for two descriptions of a peer that differ in nothing but o= and in how
// their lines end. What stands in a description, keys above all, is not to be read in it.
func Sum(b []byte) string {
	h := sha256.New()
	for line := range bytes.Lines(b) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 && !bytes.HasPrefix(line, []byte("o=")) {
			_, _ = h.Write(line) // never fails (hash.Hash)
			_, _ = h.Write([]byte{'\n'})
		}
	}
	return base64.RawStdEncoding.EncodeToString(h.Sum(nil))
}

// knownFormats leaves out what is not on the allow-list.
func knownFormats(all []Format) []Format {
	var known []Format
	for _, f := range all {
		if _, ok := codecFor(f); ok {
			known = append(known, f)
		}
	}
	return known
}

// anySpeech reports whether a known codec that carries speech is among list.
func anySpeech(list []Format) bool {
	for _, f := range list {
		if c, ok := codecFor(f); ok && !c.control {
			return true
		}
	}
	return false
}

// build writes a description with one line for each of streams, of which the
// one at index audio is open and described by keep.
func build(streams []Media, audio int, keep Media, local Local) []byte {
	host := local.Addr.Addr().Unmap()
	family := " IP4 "
	if host.Is6() {
		family = " IP6 "
	}
	if !host.IsValid() || local.Addr.Port() == 0 {
		host, audio = netip.IPv4Unspecified(), -1
	}
	var b strings.Builder
	line := func(parts ...string) {
		for _, p := range parts {
			b.WriteString(p)
		}
		b.WriteString("\r\n")
	}
	line("v=0")
	line("o=- ", strconv.FormatUint(local.SessionID, 10), " ", strconv.FormatUint(local.Version, 10),
		" IN", family, host.String())
	line("s=-")
	line("c=IN", family, host.String())
	line("t=0 0")
	for i, m := range streams {
		if i == audio && anySpeech(keep.Formats) {
			writeAudio(line, keep, local.Addr.Port())
		} else {
			line("m=", refused(m))
		}
	}
	return []byte(b.String())
}

// writeAudio writes the section of the open stream.
func writeAudio(line func(...string), m Media, port uint16) {
	numbers := make([]string, len(m.Formats))
	for i, f := range m.Formats {
		numbers[i] = strconv.Itoa(int(f.Payload))
	}
	proto := plainProto
	if m.secure() {
		proto = secureProto
	}
	line("m=audio ", strconv.Itoa(int(port)), " ", proto, " ", strings.Join(numbers, " "))
	for i, f := range m.Formats {
		c, _ := codecFor(f)
		channels := ""
		if f.Channels > 1 {
			channels = "/" + strconv.Itoa(f.Channels)
		}
		line("a=rtpmap:", numbers[i], " ", f.Codec, "/", strconv.Itoa(f.Clock), channels)
		if params := neutralParams(f, c); params != "" {
			line("a=fmtp:", numbers[i], " ", params)
		}
	}
	if m.Ptime > 0 {
		line("a=ptime:", strconv.Itoa(m.Ptime))
	}
	if m.MaxPtime > 0 {
		line("a=maxptime:", strconv.Itoa(m.MaxPtime))
	}
	line("a=", string(m.Direction))
	for _, c := range m.Crypto {
		line("a=", c.Attribute())
	}
	if m.Mux {
		line("a=rtcp-mux")
	}
}

// refused writes an m= value with port 0 (RFC 3264 §6). Type and transport are
// copied only when they are registered words; the format list, which an answer
// must have but nobody reads, is ours.
func refused(m Media) string {
	kind, ok := oneOf("audio", "video", "image", "text", "application", "message")(m.Type)
	if !ok {
		kind = "application"
	}
	proto, ok := oneOf("RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF",
		"udptl", "TCP/MSRP", "TCP/TLS/MSRP", "UDP/DTLS/SCTP", "TCP/DTLS/SCTP", "DTLS/SCTP", "UDP/BFCP", "TCP/BFCP")(m.Proto)
	if !ok {
		proto = "udp"
	}
	format := "*"
	switch {
	case strings.Contains(proto, "RTP/"):
		format = "0"
	case proto == "udptl":
		format = "t38"
	}
	return kind + " 0 " + proto + " " + format
}
