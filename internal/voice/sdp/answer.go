package sdp

// Unmapped marks, in a payload map, a number that must not be relayed.
const Unmapped = 0xFF

// Answer builds the answer to offer out of the answer that the other leg gave.
//
// It has as many streams as the offer, in the same order (RFC 3264 §6). The
// formats are those that both have, in choice's order, with offer's payload
// numbers; their fmtp and the ptime are choice's, since they say what choice's
// side wants to receive. The direction is choice's, cut down to what the offer
// allows. SRTP and rtcp-mux are the offer's as well: what choice has of them is
// another leg's. A stream refused by choice gives ErrNoAudio, no speech codec in
// common ErrNoCommonCodec; both mean 488, or the end of the call.
func Answer(offer, choice *Description, local Local) ([]byte, error) {
	i := offer.audioIndex()
	chosen, ok := choice.Audio()
	if i < 0 || !ok {
		return nil, ErrNoAudio
	}
	asked := offer.Media[i]
	common, err := Common(asked, chosen)
	if err != nil {
		return nil, err
	}
	chosen.Formats, chosen.Proto, chosen.Crypto, chosen.Mux = common, asked.Proto, local.Keys.Accepted(asked.Crypto), asked.Mux
	chosen.Direction = Meet(chosen.Direction, asked.Direction)
	return build(offer.Media, i, chosen, local), nil
}

// Common lists the formats that offer and choice share, in choice's order, with
// offer's payload numbers and choice's parameters. Where each has one law of G.711
// and not the same, offer's stands in the place of choice's (see BridgeLaws). It
// gives ErrNoCommonCodec when no speech codec is among them.
func Common(offer, choice Media) ([]Format, error) {
	var taken [128]bool
	var list []Format
	apart := lawsApart(offer.Formats, choice.Formats)
	for _, want := range choice.Formats {
		for _, f := range offer.Formats {
			bridged := apart && isLaw(f) && isLaw(want)
			if taken[f.Payload] || !bridged && !f.sameAs(want) {
				continue
			}
			taken[f.Payload] = true
			want.Payload, want.Codec = f.Payload, f.Codec
			list = append(list, want)
			break
		}
	}
	if !anySpeech(list) {
		return nil, ErrNoCommonCodec
	}
	return list, nil
}

// PayloadMap tells the relay how to number packets that come from one leg and
// leave to the other: index is the number that arrives, the value the one that
// leaves, Unmapped what is dropped.
//
// from is the description that we gave to the sending leg, since a sender uses
// the numbers of its peer (RFC 3264 §5.1); to is the description that the
// receiving leg gave us. also are further descriptions whose numbers mean the
// same when the first leaves them free: pass the sending leg's own, for the
// many phones that answer with other numbers and then send those.
func PayloadMap(from, to Media, also ...Media) [128]uint8 {
	var m [128]uint8
	for i := range m {
		m[i] = Unmapped
	}
	var named [128]bool
	for _, source := range append([]Media{from}, also...) {
		for _, f := range source.Formats {
			if named[f.Payload] {
				continue
			}
			named[f.Payload] = true
			for _, g := range to.Formats {
				if f.sameAs(g) {
					m[f.Payload] = g.Payload
					break
				}
			}
		}
	}
	return m
}

// ClockRates gives the RTP clock in Hz of each payload number that media names,
// the first to name one winning; 0 where nobody does.
func ClockRates(media ...Media) [128]uint32 {
	var rates [128]uint32
	for _, m := range media {
		for _, f := range m.Formats {
			if _, known := codecFor(f); known && rates[f.Payload] == 0 {
				rates[f.Payload] = uint32(f.Clock)
			}
		}
	}
	return rates
}
