package sdp

import (
	"net/netip"
	"slices"
)

// This file is about offers within a call.

// Reoffer builds an offer to a side that ours was said to before: as many streams
// (RFC 3264 §8), the open one with the formats, the packet times and the direction
// of audio; where one law of G.711 is among them, with the other as well.
func Reoffer(ours *Description, audio Media, local Local) []byte {
	i := ours.audioIndex()
	if i < 0 {
		return build(ours.Media, i, Media{}, local)
	}
	keep := ours.Media[i]
	keep.Proto, keep.Crypto, keep.Mux = local.Profile.Proto(), local.Keys.Offered(local.Profile, local.Suite), local.Mux
	keep.Formats, keep.Ptime, keep.MaxPtime, keep.Direction = bothLaws(knownFormats(audio.Formats)), audio.Ptime, audio.MaxPtime, audio.Direction
	return build(ours.Media, i, keep, local)
}

// Meet is what comes of a stream, seen from who says own, if the other side says
// other: he sends what is wanted, and receives what is sent (RFC 3264 §6.1).
func Meet(own, other Direction) Direction {
	return DirectionOf(own.Sends() && other.Receives(), own.Receives() && other.Sends())
}

// Takes gives the formats of list that m has as well, where both laws of G.711 count
// as one.
func (m Media) Takes(list []Format) (taken []Format) {
	law := slices.ContainsFunc(m.Formats, isLaw)
	for _, f := range list {
		if law && isLaw(f) || slices.ContainsFunc(m.Formats, f.sameAs) {
			taken = append(taken, f)
		}
	}
	return taken
}

// Speech is how many speech codecs are in list.
func Speech(list []Format) (n int) {
	for _, f := range list {
		if anySpeech([]Format{f}) {
			n++
		}
	}
	return n
}

// Favourite is the speech codec that m names first.
func (m Media) Favourite() (f Format, ok bool) {
	for _, f := range m.Formats {
		if c, known := codecFor(f); known && !c.control {
			return f, true
		}
	}
	return Format{}, false
}

// HasG711 reports whether the stream that we carry can be G.711.
func (d *Description) HasG711() bool {
	m, ok := d.Audio()
	return ok && slices.ContainsFunc(m.Formats, isLaw)
}

// Numbers are the payload numbers that a side and we have used for its stream. The
// zero value has none.
//
// A number means the same as long as the session lasts (RFC 3264 §8.3.2).
type Numbers struct {
	Formats []Format // one for each number
}

// Learn takes the numbers of a description; what one meant before stays.
func (n *Numbers) Learn(m Media) {
	for _, f := range m.Formats {
		if _, known := codecFor(f); known && !n.takes(f.Payload) {
			n.Formats = append(n.Formats, f)
		}
	}
}

func (n *Numbers) takes(payload uint8) bool {
	return slices.ContainsFunc(n.Formats, func(f Format) bool { return f.Payload == payload })
}

// Know reports whether the side has been told of a codec, or has told us.
func (n *Numbers) Know(f Format) bool { return slices.ContainsFunc(n.Formats, f.sameAs) }

// Assign gives list with the numbers that the side knows, and with free ones for
// what it does not know. What finds no number is left out.
func (n *Numbers) Assign(list []Format) (numbered []Format) {
	all := Numbers{slices.Clone(n.Formats)}
	for _, f := range list {
		if i := slices.IndexFunc(all.Formats, f.sameAs); i >= 0 {
			f.Payload = all.Formats[i].Payload
		} else if all.takes(f.Payload) {
			free := slices.IndexFunc(dynamicNumbers, func(p uint8) bool { return !all.takes(p) })
			if free < 0 {
				continue
			}
			f.Payload = dynamicNumbers[free]
		}
		if !slices.ContainsFunc(numbered, func(g Format) bool { return g.Payload == f.Payload }) {
			all.Formats = append(all.Formats, f)
			numbered = append(numbered, f)
		}
	}
	return numbered
}

// dynamicNumbers are those of RFC 3551 §6.
var dynamicNumbers = func() (all []uint8) {
	for p := uint8(96); p < 128; p++ {
		all = append(all, p)
	}
	return all
}()

// Same reports whether a description was said word for word before: a refresh.
func (d *Description) Same(before *Description) bool {
	return before != nil && slices.Equal(d.Lines, before.Lines) &&
		slices.EqualFunc(d.Media, before.Media, func(a, b Media) bool { return slices.Equal(a.Lines, b.Lines) })
}

// Unasked is what we offer on behalf of somebody who has not said what he can do:
// what every phone has, and what can be turned into what he has.
func Unasked() *Description {
	m := Media{Type: "audio", Proto: "RTP/AVP", Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), 9), Direction: SendRecv, Ptime: 20,
		Formats: []Format{staticFormat(8), staticFormat(0), {Payload: 101, Codec: "telephone-event", Clock: 8000, Channels: 1, Params: "0-15"}}}
	return &Description{Media: []Media{m}}
}
