package phone

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tandem/internal/voice/sdp"
)

// A format is a codec with the payload number we give it.
type format struct {
	name    string // as sdp spells it
	clock   int
	payload uint8
	suffix  string // of the rtpmap: channels
	params  string
}

const telephoneEvent = "telephone-event"

// known are the codecs that Invite.Codecs may name. Only PCMA and PCMU are really
// spoken; see encode for the others.
var known = [...]format{
	{name: "PCMA", clock: 8000, payload: 8},
	{name: "PCMU", clock: 8000, payload: 0},
	{name: "G722", clock: 8000, payload: 9},
	{name: "G729", clock: 8000, payload: 18, params: "annexb=no"},
	{name: "GSM", clock: 8000, payload: 3},
	{name: "opus", clock: 48000, payload: 111, suffix: "/2"},
	{name: "AMR", clock: 8000, payload: 96, params: "octet-align=1"},
	{name: "AMR-WB", clock: 16000, payload: 97, params: "octet-align=1"},
	{name: telephoneEvent, clock: 8000, payload: 101, params: "0-15"},
}

// formatsNamed looks codecs up. None named means G.711 and telephone-event.
func (p *Phone) formatsNamed(names []string) ([]format, error) {
	if len(names) == 0 {
		names = []string{"PCMA", "PCMU", telephoneEvent}
	}
	list := make([]format, 0, len(names))
	for _, name := range names {
		i := slices.IndexFunc(known[:], func(f format) bool { return strings.EqualFold(f.name, name) })
		if i < 0 {
			return nil, fmt.Errorf("phone: codec %q is not known", name)
		}
		if f := known[i]; f.name != telephoneEvent || !p.o.NoEvents {
			list = append(list, f)
		}
	}
	return list, nil
}

var (
	errNoMedia = errors.New("phone: description without audio that fits")
	errOffer   = errors.New("phone: a description was expected and none came, or none fits")
)

// A session is our part of a call's offers and answers (RFC 3264). It is guarded by
// the call's lock.
type session struct {
	id, version uint64
	formats     []format      // what we can do, best first
	lines       []string      // the owner's own, see Invite.SDPLines
	direction   sdp.Direction // what we want
	pending     bool          // our offer is out
	security    security
	numbers     map[string]uint8 // payload numbers of our own, see Options.Numbers
}

// offer writes a description of all we can do.
func (s *session) offer(at netip.AddrPort) []byte {
	s.version++
	s.security.offer()
	return s.write(at, []string{s.audio(at.Port(), s.formats, s.direction)})
}

// answer replies to an offer and says what it means for sending. Formats are those
// of the offer that we know, with its numbers and in its order.
func (s *session) answer(offer []byte, at netip.AddrPort) ([]byte, agreement, error) {
	d, err := sdp.Parse(offer)
	if err != nil {
		return nil, agreement{}, err
	}
	audio, ok := d.Audio()
	common := s.common(audio)
	if !ok || len(common) == 0 || common[0].name == telephoneEvent {
		return nil, agreement{}, errNoMedia
	}
	if !s.security.answer(audio) {
		return nil, agreement{}, errNoMedia
	}
	direction := between(s.direction.Sends() && audio.Direction.Receives(), s.direction.Receives() && audio.Direction.Sends())
	sections, open := make([]string, len(d.Media)), false
	for i, m := range d.Media {
		if !open && m.Addr == audio.Addr && m.Type == audio.Type && m.Proto == audio.Proto {
			open = true
			sections[i] = s.audio(at.Port(), common, direction)
			continue
		}
		kind, rest, _ := strings.Cut(m.Lines[0].Value, " ")
		_, rest, _ = strings.Cut(rest, " ")
		sections[i] = "m=" + kind + " 0 " + rest + "\r\n" // RFC 3264 §6: refused
	}
	s.version++
	a, err := s.agreed(audio, common, direction.Sends())
	return s.write(at, sections), a, err
}

// accept reads the answer to our offer.
func (s *session) accept(answer []byte) (agreement, error) {
	d, err := sdp.Parse(answer)
	if err != nil {
		return agreement{}, err
	}
	audio, ok := d.Audio()
	common := s.common(audio)
	if !ok || len(common) == 0 || common[0].name == telephoneEvent {
		return agreement{}, errNoMedia
	}
	return s.agreed(audio, common, s.direction.Sends() && audio.Direction.Receives())
}

// agreed is what the far side's description and what it has in common with us come to.
func (s *session) agreed(audio sdp.Media, common []format, send bool) (agreement, error) {
	a := agreement{to: audio.Addr, toRTCP: audio.RTCP, format: common[0], send: send}
	if s.security.ours.Mux && audio.Mux {
		a.toRTCP, a.mux = a.to, true
	}
	if last := common[len(common)-1]; last.name == telephoneEvent {
		a.events = last
	}
	var err error
	a.protection, err = sdp.Protected(s.security.ours, audio)
	return a, err
}

// common lists the formats of m that we know, in its order and numbering, speech first.
func (s *session) common(m sdp.Media) []format {
	var speech, events []format
	for _, theirs := range m.Formats {
		i := slices.IndexFunc(s.formats, func(f format) bool { return f.name == theirs.Codec && f.clock == theirs.Clock })
		if i < 0 {
			continue
		}
		f := s.formats[i]
		f.payload = theirs.Payload
		if f.name == telephoneEvent {
			events = append(events, f)
		} else {
			speech = append(speech, f)
		}
	}
	return append(speech, events...)
}

func between(sends, receives bool) sdp.Direction {
	switch {
	case sends && receives:
		return sdp.SendRecv
	case sends:
		return sdp.SendOnly
	case receives:
		return sdp.RecvOnly
	}
	return sdp.Inactive
}

// number is how a format is called in our descriptions.
func (s *session) number(f format) uint8 {
	if n, own := s.numbers[f.name]; own {
		return n
	}
	return f.payload
}

// audio writes an m= section.
func (s *session) audio(port uint16, formats []format, direction sdp.Direction) string {
	var b strings.Builder
	fmt.Fprintf(&b, "m=audio %d %s", port, s.security.ours.Proto)
	for _, f := range formats {
		fmt.Fprintf(&b, " %d", s.number(f))
	}
	b.WriteString("\r\n")
	for _, f := range formats {
		fmt.Fprintf(&b, "a=rtpmap:%d %s/%d%s\r\n", s.number(f), f.name, f.clock, f.suffix)
		if f.params != "" {
			fmt.Fprintf(&b, "a=fmtp:%d %s\r\n", s.number(f), f.params)
		}
	}
	fmt.Fprintf(&b, "a=ptime:20\r\na=%s\r\n%s", direction, s.security.lines())
	return b.String()
}

// write puts the session section before the streams. The owner's lines take their
// places: o= and s= replace ours, i=, u=, e= and p= follow s= (RFC 4566 §5), all
// others end the description.
func (s *session) write(at netip.AddrPort, sections []string) []byte {
	family := "IP4"
	if at.Addr().Is6() {
		family = "IP6"
	}
	origin := fmt.Sprintf("o=- %d %d IN %s %s", s.id, s.version, family, at.Addr())
	name, about, last := "s=-", "", ""
	for _, l := range s.lines {
		switch {
		case strings.HasPrefix(l, "o="):
			origin = l
		case strings.HasPrefix(l, "s="):
			name = l
		case l != "" && strings.ContainsRune("iuep", rune(l[0])):
			about += l + "\r\n"
		default:
			last += l + "\r\n"
		}
	}
	return []byte("v=0\r\n" + origin + "\r\n" + name + "\r\n" + about +
		fmt.Sprintf("c=IN %s %s\r\nt=0 0\r\n", family, at.Addr()) + strings.Join(sections, "") + last)
}
