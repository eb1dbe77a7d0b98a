package sdp

import (
	"errors"
	"strings"
	"testing"
)

const session = "v=0\no=- 1 1 IN IP4 203.0.113.5\ns=-\nc=IN IP4 203.0.113.5\nt=0 0\n"

func TestAnAnswerHasTheOffersStreamsAndNumbersAndTheOtherSidesChoice(t *testing.T) {
	offer := parse(t, session+`m=video 5000 RTP/AVP 99
m=audio 4000 RTP/AVP 0 8 96 97
a=rtpmap:96 telephone-event/8000
a=rtpmap:97 opus/48000/2
a=fmtp:97 stereo=1
m=image 5002 udptl t38
`)
	choice := parse(t, session+`m=video 0 RTP/AVP 99
m=audio 6000 RTP/AVP 110 8 101 18
a=rtpmap:110 opus/48000/2
a=fmtp:110 useinbandfec=1;X-number=919876543210
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:30
`)
	got, err := Answer(offer, choice, local)
	if err != nil {
		t.Fatal(err)
	}
	want := crlf(head + `m=video 0 RTP/AVP 0
m=audio 40000 RTP/AVP 97 8 96
a=rtpmap:97 opus/48000/2
a=fmtp:97 useinbandfec=1
a=rtpmap:8 PCMA/8000
a=rtpmap:96 telephone-event/8000
a=fmtp:96 0-15
a=ptime:30
a=sendrecv
m=image 0 udptl t38
`)
	if string(got) != want {
		t.Errorf("answer:\n%s\nwant:\n%s", got, want)
	}
}

func TestAnAnswerWithoutACommonSpeechCodecIsRefused(t *testing.T) {
	offer := parse(t, session+"m=audio 4000 RTP/AVP 8 101\na=rtpmap:101 telephone-event/8000\n")
	for name, c := range map[string]struct {
		choice string
		want   error
	}{
		"other codec":     {"m=audio 6000 RTP/AVP 9 101\na=rtpmap:101 telephone-event/8000\n", ErrNoCommonCodec},
		"events only":     {"m=audio 6000 RTP/AVP 101\na=rtpmap:101 telephone-event/8000\n", ErrNoCommonCodec},
		"refused":         {"m=audio 0 RTP/AVP 8\n", ErrNoAudio},
		"SRTP":            {"m=audio 6000 RTP/SAVP 8\n", ErrNoAudio},
		"unknown by name": {"m=audio 6000 RTP/AVP 97\na=rtpmap:97 SILK/24000\n", ErrNoCommonCodec},
	} {
		if got, err := Answer(offer, parse(t, session+c.choice), local); !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: %q, %v, want %v", name, got, err, c.want)
		}
	}
	video := parse(t, session+"m=video 4000 RTP/AVP 99\n")
	if _, err := Answer(video, offer, local); !errors.Is(err, ErrNoAudio) {
		t.Errorf("an offer without audio: %v", err)
	}
}

func TestWhereTheLawsDifferEachSideKeepsItsOwn(t *testing.T) {
	const events = "a=rtpmap:101 telephone-event/8000\n"
	for name, c := range map[string]struct{ offer, choice, want string }{
		"one each":              {"8 101", "0 101", "8 101"},
		"by another number":     {"97 101\na=rtpmap:97 PCMU/8000", "8 101", "97 101"},
		"one in common":         {"8 0 101", "0 101", "0 101"},
		"both, the other first": {"8 101", "0 8 101", "8 101"},
		"another codec first":   {"9 8 101", "9 0 101", "9 8 101"},
	} {
		b, err := Answer(parse(t, session+"m=audio 4000 RTP/AVP "+c.offer+"\n"+events), parse(t, session+"m=audio 6000 RTP/AVP "+c.choice+"\n"+events), local)
		if err != nil || !strings.Contains(string(b), " RTP/AVP "+c.want+"\r\n") {
			t.Errorf("%s: %v\n%s", name, err, b)
		}
	}
}

func TestTheDirectionOfAnAnswerFitsTheOffer(t *testing.T) {
	all := []Direction{SendRecv, SendOnly, RecvOnly, Inactive}
	for _, asked := range all {
		for _, chosen := range all {
			offer, choice := parse(t, minimal), parse(t, minimal)
			offer.Media[0].Direction, choice.Media[0].Direction = asked, chosen
			b, err := Answer(offer, choice, local)
			if err != nil {
				t.Fatal(err)
			}
			m, _ := parse(t, string(b)).Audio()
			if m.Direction.Sends() && !asked.Receives() || m.Direction.Receives() && !asked.Sends() {
				t.Errorf("%s is answered by %s (RFC 3264 §6.1)", asked, m.Direction)
			}
			if asked == SendRecv && m.Direction != chosen {
				t.Errorf("choice %s became %s", chosen, m.Direction)
			}
		}
	}
}

func TestAMRInAnotherFramingIsAnotherCodec(t *testing.T) {
	amr := func(params string) Media {
		m, _ := parse(t, session+"m=audio 4000 RTP/AVP 102\na=rtpmap:102 AMR/8000\n"+params).Audio()
		return m
	}
	if _, err := Common(amr("a=fmtp:102 octet-align=1\n"), amr("")); !errors.Is(err, ErrNoCommonCodec) {
		t.Errorf("octet-aligned and bandwidth-efficient match: %v", err)
	}
	if _, err := Common(amr("a=fmtp:102 octet-align=0;mode-set=7\n"), amr("")); err != nil {
		t.Errorf("the default written out does not match: %v", err)
	}
}

func TestThePayloadMapFollowsTheCodecNotTheNumber(t *testing.T) {
	audio := func(text string) Media {
		m, ok := parse(t, session+text).Audio()
		if !ok {
			t.Fatal("no audio")
		}
		return m
	}
	// what we offered to B (with A's numbers), and what B answered
	ours := audio("m=audio 4000 RTP/AVP 8 96 97 3\na=rtpmap:96 telephone-event/8000\na=rtpmap:97 opus/48000/2\n")
	theirs := audio("m=audio 6000 RTP/AVP 8 110 97\na=rtpmap:97 telephone-event/8000\na=rtpmap:110 opus/48000/2\n")

	toB := PayloadMap(ours, theirs)
	for from, want := range map[int]uint8{8: 8, 96: 97, 97: 110, 3: Unmapped, 0: Unmapped, 127: Unmapped} {
		if toB[from] != want {
			t.Errorf("to B: %d becomes %d, want %d", from, toB[from], want)
		}
	}
	// B sends with our numbers, or with its own where ours leave them free
	toA := PayloadMap(ours, ours, theirs)
	for from, want := range map[int]uint8{8: 8, 96: 96, 97: 97, 110: 97} {
		if toA[from] != want {
			t.Errorf("to A: %d becomes %d, want %d", from, toA[from], want)
		}
	}
	if PayloadMap(ours, ours)[110] != Unmapped {
		t.Error("a number that nobody named is mapped")
	}
}

func TestClockRatesAreThoseOfTheFirstToNameANumber(t *testing.T) {
	a, _ := parse(t, session+"m=audio 4000 RTP/AVP 8 97 99\na=rtpmap:97 opus/48000/2\na=rtpmap:99 what/4711\n").Audio()
	b, _ := parse(t, session+"m=audio 4000 RTP/AVP 97 98\na=rtpmap:97 AMR-WB/16000\na=rtpmap:98 AMR-WB/16000\n").Audio()
	rates := ClockRates(a, b)
	for n, want := range map[int]uint32{8: 8000, 97: 48000, 98: 16000, 99: 0, 0: 0} {
		if rates[n] != want {
			t.Errorf("%d has %d Hz, want %d", n, rates[n], want)
		}
	}
}

// Comfort noise (RFC 3389) says nothing of the law of the speech around it.
func TestComfortNoiseIsMappedWhereBothHaveItAndLeftOutElsewhere(t *testing.T) {
	with := parse(t, session+"m=audio 4000 RTP/AVP 8 13\n").Media[0]
	other := parse(t, session+"m=audio 4000 RTP/AVP 0 96\na=rtpmap:96 CN/8000\n").Media[0]
	without := parse(t, session+"m=audio 4000 RTP/AVP 0\n").Media[0]
	m := PayloadMap(with, other)
	tables := BridgeLaws(&m, with, other)
	if m[13] != 96 || tables[13] != nil || m[8] != 0 || tables[8] == nil {
		t.Errorf("13 becomes %d, 8 becomes %d", m[13], m[8])
	}
	m = PayloadMap(with, without)
	BridgeLaws(&m, with, without)
	if m[13] != Unmapped || m[8] != 0 {
		t.Errorf("to one without it 13 becomes %d, 8 becomes %d", m[13], m[8])
	}
}
