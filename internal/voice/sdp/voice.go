package sdp

import (
	"slices"

	"tandem/internal/voice/g711"
)

// None marks a payload number that there is not.
const None = 0xFF

// This file is about what we can say and understand by ourselves, for prompts,
// PINs and recordings: G.711, and RFC 4733 telephone-events at its clock.

func isLaw(f Format) bool {
	_, known := codecFor(f)
	return known && g711.LawOf(f.Codec) != g711.None
}

func isEvents(f Format) bool {
	_, known := codecFor(f)
	return known && f.Codec == "telephone-event" && f.Clock == g711.Rate
}

// Voice is what we choose of an offer for a talk with nobody else: its first
// G.711 codec and its telephone-events. Answer makes the answer of it. Without
// G.711 it gives ErrNoCommonCodec.
func Voice(offer *Description) (*Description, error) {
	m, ok := offer.Audio()
	if !ok {
		return nil, ErrNoAudio
	}
	i := slices.IndexFunc(m.Formats, isLaw)
	if i < 0 {
		return nil, ErrNoCommonCodec
	}
	formats := []Format{m.Formats[i]}
	for _, f := range m.Formats {
		if isEvents(f) {
			formats = append(formats, f)
		}
	}
	m.Formats, m.Direction, m.Ptime, m.MaxPtime = formats, SendRecv, 20, 0
	return &Description{Media: []Media{m}}, nil
}

// OnlyG711 is d with no other speech codec than G.711 in its audio, or d itself
// where it has none.
func OnlyG711(d *Description) *Description {
	i := d.audioIndex()
	if i < 0 || !slices.ContainsFunc(d.Media[i].Formats, isLaw) {
		return d
	}
	only := *d
	only.Media = slices.Clone(d.Media)
	m := &only.Media[i]
	m.Formats = slices.DeleteFunc(slices.Clone(m.Formats), func(f Format) bool {
		c, known := codecFor(f)
		return !known || !(isLaw(f) || c.control)
	})
	return &only
}

// bothLaws adds to speech formats the law of G.711 that they lack if they have the
// other, behind them all: its code words can be turned (see BridgeLaws).
func bothLaws(formats []Format) []Format {
	if !slices.ContainsFunc(formats, isLaw) {
		return formats
	}
	both := slices.Clone(formats)
	for _, payload := range []uint8{8, 0} {
		law := staticFormat(payload)
		if slices.ContainsFunc(both, func(f Format) bool { return f.Payload == payload || f.sameAs(law) }) {
			continue
		}
		last := len(both) - 1
		for !anySpeech(both[last:]) {
			last--
		}
		both = slices.Insert(both, last+1, law)
	}
	return both
}

// lawsApart reports whether both lists have G.711 and no law of it in common.
func lawsApart(a, b []Format) bool {
	same := func(f Format) bool { return isLaw(f) && slices.ContainsFunc(b, f.sameAs) }
	return slices.ContainsFunc(a, isLaw) && slices.ContainsFunc(b, isLaw) && !slices.ContainsFunc(a, same)
}

// Agreed is what a side takes: of the formats that it told us those that we told
// it too, by its numbers and in its order.
func Agreed(theirs, ours Media) Media {
	theirs.Formats = slices.DeleteFunc(slices.Clone(theirs.Formats), func(f Format) bool {
		return !slices.ContainsFunc(ours.Formats, f.sameAs)
	})
	return theirs
}

// BridgeLaws completes a map of PayloadMap's where one side has A-law and the
// other µ-law: it maps one to the other and gives the table, by the number that
// arrives, that turns each code word.
func BridgeLaws(numbers *[128]uint8, from, to Media, also ...Media) (tables [128]*[256]byte) {
	i := slices.IndexFunc(to.Formats, isLaw)
	if i < 0 {
		return tables
	}
	leaves := to.Formats[i]
	for n, law := range Laws(append([]Media{from}, also...)...) {
		if law != g711.None && numbers[n] == Unmapped {
			numbers[n] = leaves.Payload
			tables[n] = law.To(g711.LawOf(leaves.Codec))
		}
	}
	return tables
}

// Laws tells which payload numbers that media names are G.711, the first to name
// one winning.
func Laws(media ...Media) (laws [128]g711.Law) {
	var named [128]bool
	for _, m := range media {
		for _, f := range m.Formats {
			if !named[f.Payload] && isLaw(f) {
				laws[f.Payload] = g711.LawOf(f.Codec)
			}
			named[f.Payload] = true
		}
	}
	return laws
}

// Events is the number of the telephone-events that a side sends: ours is what
// we told it, theirs what it told us. None unless both have them.
func Events(ours, theirs Media) uint8 {
	i := slices.IndexFunc(ours.Formats, isEvents)
	if i < 0 || !slices.ContainsFunc(theirs.Formats, isEvents) {
		return None
	}
	return ours.Formats[i].Payload
}

// Speak is how we say something to a side by ourselves: the first G.711 codec of
// what we told it that it has too, by its number. None if there is none.
func Speak(ours, theirs Media) (payload uint8, law g711.Law) {
	for _, f := range ours.Formats {
		for _, g := range theirs.Formats {
			if isLaw(f) && f.sameAs(g) {
				return g.Payload, g711.LawOf(f.Codec)
			}
		}
	}
	return None, g711.None
}
