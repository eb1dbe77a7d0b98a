package sdp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tandem/internal/voice/g711"
)

// speech is a description with these formats, each written as number and name
// ("96 opus/48000/2") or as a number alone.
func speech(t interface {
	Helper()
	Fatal(args ...any)
}, formats ...string) *Description {
	t.Helper()
	numbers, maps := "", ""
	for _, f := range formats {
		number, name, named := strings.Cut(f, " ")
		numbers += " " + number
		if named {
			maps += "a=rtpmap:" + number + " " + name + "\n"
		}
	}
	d, err := Parse([]byte(session + "m=audio 4000 RTP/AVP" + numbers + "\n" + maps))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func audio(t *testing.T, formats ...string) Media {
	t.Helper()
	return speech(t, formats...).Media[0]
}

// written are the formats of m as speech reads them.
func written(m Media) (formats []string) {
	for _, f := range m.Formats {
		formats = append(formats, fmt.Sprintf("%d %s", f.Payload, f.Codec))
	}
	return formats
}

func TestByOurselvesWeSpeakTheFirstLawOfAnOffer(t *testing.T) {
	for name, c := range map[string]struct {
		offer []string
		want  []string
	}{
		"one law":           {[]string{"8"}, []string{"8 PCMA"}},
		"the first of two":  {[]string{"0", "8"}, []string{"0 PCMU"}},
		"behind others":     {[]string{"9", "96 opus/48000/2", "8", "0"}, []string{"8 PCMA"}},
		"by another number": {[]string{"97 pcmu/8000"}, []string{"97 PCMU"}},
		"with keys":         {[]string{"101 telephone-event/8000", "8"}, []string{"8 PCMA", "101 telephone-event"}},
		"keys of other rates": {[]string{"8", "100 telephone-event/48000", "101 telephone-event/16000", "102 telephone-event/8000"},
			[]string{"8 PCMA", "102 telephone-event"}},
		"comfort noise":    {[]string{"8", "13"}, []string{"8 PCMA"}},
		"no law":           {[]string{"9", "101 telephone-event/8000"}, nil},
		"a law in stereo":  {[]string{"97 PCMA/8000/2", "9"}, nil},
		"a law at 16 kHz":  {[]string{"97 PCMA/16000", "9"}, nil},
		"its number alone": {[]string{"8 opus/48000/2"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			voice, err := Voice(speech(t, c.offer...))
			if c.want == nil {
				if !errors.Is(err, ErrNoCommonCodec) || voice != nil {
					t.Fatalf("%v, %v", voice, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			m := voice.Media[0]
			if got := written(m); !slices.Equal(got, c.want) || len(voice.Media) != 1 {
				t.Errorf("chose %v, want %v", got, c.want)
			}
			if m.Direction != SendRecv || m.Ptime != 20 || m.MaxPtime != 0 {
				t.Errorf("%s, packets of %d ms, at most %d", m.Direction, m.Ptime, m.MaxPtime)
			}
		})
	}
	if _, err := Voice(parse(t, session+"m=video 4000 RTP/AVP 99\n")); !errors.Is(err, ErrNoAudio) {
		t.Errorf("of an offer without audio: %v", err)
	}
}

func TestAHoldIsAnsweredByOurselvesAsAHold(t *testing.T) {
	for asked, want := range map[Direction]Direction{SendRecv: SendRecv, SendOnly: RecvOnly, RecvOnly: SendOnly, Inactive: Inactive} {
		offer := speech(t, "8")
		offer.Media[0].Direction = asked
		voice, err := Voice(offer)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Answer(offer, voice, local)
		if err != nil {
			t.Fatal(err)
		}
		if m, _ := parse(t, string(b)).Audio(); m.Direction != want {
			t.Errorf("%s is answered by %s", asked, m.Direction)
		}
	}
}

func TestForARecordingOnlyG711IsLeftOfTheSpeechCodecs(t *testing.T) {
	for name, c := range map[string]struct{ has, want []string }{
		"both laws":   {[]string{"96 opus/48000/2", "8", "9", "0", "101 telephone-event/8000", "13", "99 SILK/24000"}, []string{"8 PCMA", "0 PCMU", "101 telephone-event", "13 CN"}},
		"no other":    {[]string{"0"}, []string{"0 PCMU"}},
		"none at all": {[]string{"9", "101 telephone-event/8000"}, []string{"9 G722", "101 telephone-event"}},
	} {
		d := speech(t, c.has...)
		before := written(d.Media[0])
		only := OnlyG711(d)
		if got := written(only.Media[0]); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if !slices.Equal(written(d.Media[0]), before) {
			t.Errorf("%s: the description itself was changed", name)
		}
	}
	if d := parse(t, session+"m=video 4000 RTP/AVP 99\n"); OnlyG711(d) != d {
		t.Error("a description without audio became another")
	}
}

func TestTheOtherLawIsOfferedBehindTheOne(t *testing.T) {
	for name, c := range map[string]struct{ has, want []string }{
		"A-law":                   {[]string{"8", "101 telephone-event/8000"}, []string{"8 PCMA", "0 PCMU", "101 telephone-event"}},
		"µ-law":                   {[]string{"0"}, []string{"0 PCMU", "8 PCMA"}},
		"both":                    {[]string{"0", "8"}, []string{"0 PCMU", "8 PCMA"}},
		"by another number":       {[]string{"97 PCMA/8000"}, []string{"97 PCMA", "0 PCMU"}},
		"its number is something": {[]string{"8", "0 opus/48000/2"}, []string{"8 PCMA", "0 opus"}},
		"neither":                 {[]string{"9"}, []string{"9 G722"}},
		"other speech":            {[]string{"0", "9", "13", "101 telephone-event/8000"}, []string{"0 PCMU", "9 G722", "8 PCMA", "13 CN", "101 telephone-event"}},
	} {
		d := speech(t, c.has...)
		before := written(d.Media[0])
		if got := written(parse(t, string(Anchor(d, local))).Media[0]); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if !slices.Equal(written(d.Media[0]), before) {
			t.Errorf("%s: the description itself was changed", name)
		}
	}
}

func TestASideTakesWhatBothHaveNamed(t *testing.T) {
	theirs, ours := audio(t, "0", "96 opus/48000/2", "8", "110 telephone-event/8000"), audio(t, "8", "101 telephone-event/8000", "9")
	got := Agreed(theirs, ours)
	if want := []string{"8 PCMA", "110 telephone-event"}; !slices.Equal(written(got), want) || got.Addr != theirs.Addr {
		t.Errorf("%v at %v, want %v", written(got), got.Addr, want)
	}
	if len(theirs.Formats) != 4 {
		t.Error("the description itself was changed")
	}
}

func TestALawThatTheOtherSideLacksIsBridged(t *testing.T) {
	toU, toA := g711.ALaw.To(g711.ULaw), g711.ULaw.To(g711.ALaw)
	type leaves struct {
		number uint8
		table  *[256]byte
	}
	for name, c := range map[string]struct {
		from, to, also []string
		want           map[uint8]leaves
	}{
		"A-law to µ-law":   {[]string{"8"}, []string{"0"}, nil, map[uint8]leaves{8: {0, toU}, 0: {Unmapped, nil}}},
		"µ-law to A-law":   {[]string{"0"}, []string{"97 PCMA/8000"}, nil, map[uint8]leaves{0: {97, toA}}},
		"no need":          {[]string{"8", "0"}, []string{"8", "0"}, nil, map[uint8]leaves{8: {8, nil}, 0: {0, nil}}},
		"one of two":       {[]string{"8", "0"}, []string{"8"}, nil, map[uint8]leaves{8: {8, nil}, 0: {8, toA}}},
		"sent by its own":  {[]string{"8"}, []string{"0"}, []string{"97 PCMA/8000"}, map[uint8]leaves{8: {0, toU}, 97: {0, toU}}},
		"the other has no": {[]string{"8"}, []string{"9"}, nil, map[uint8]leaves{8: {Unmapped, nil}}},
		"not of speech":    {[]string{"9", "8"}, []string{"0"}, nil, map[uint8]leaves{9: {Unmapped, nil}, 8: {0, toU}}},
		"another codec by that number": {[]string{"97 opus/48000/2"}, []string{"0"}, []string{"97 PCMA/8000"},
			map[uint8]leaves{97: {Unmapped, nil}}},
	} {
		t.Run(name, func(t *testing.T) {
			from, to, also := audio(t, c.from...), audio(t, c.to...), []Media{}
			if c.also != nil {
				also = append(also, audio(t, c.also...))
			}
			numbers := PayloadMap(from, to, also...)
			tables := BridgeLaws(&numbers, from, to, also...)
			for n, want := range c.want {
				if numbers[n] != want.number || tables[n] != want.table {
					t.Errorf("%d leaves as %d by %p, want %d by %p", n, numbers[n], tables[n], want.number, want.table)
				}
			}
		})
	}
}

func TestANumberIsOfTheLawOfWhoNamesItFirst(t *testing.T) {
	laws := Laws(audio(t, "97 opus/48000/2", "8"), audio(t, "97 PCMA/8000", "96 PCMU/8000", "8 PCMU/8000", "9"))
	for n, want := range map[int]g711.Law{8: g711.ALaw, 96: g711.ULaw, 97: g711.None, 9: g711.None, 0: g711.None} {
		if laws[n] != want {
			t.Errorf("%d is law %d, want %d", n, laws[n], want)
		}
	}
}

func TestKeysAreHeardByOurNumberIfBothHaveThem(t *testing.T) {
	for name, c := range map[string]struct {
		ours, theirs []string
		want         uint8
	}{
		"both":         {[]string{"8", "101 telephone-event/8000"}, []string{"8", "96 telephone-event/8000"}, 101},
		"not theirs":   {[]string{"8", "101 telephone-event/8000"}, []string{"8"}, None},
		"not ours":     {[]string{"8"}, []string{"8", "96 telephone-event/8000"}, None},
		"another rate": {[]string{"8", "101 telephone-event/8000"}, []string{"8", "96 telephone-event/16000"}, None},
	} {
		if got := Events(audio(t, c.ours...), audio(t, c.theirs...)); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestWeSpeakByTheirNumberAndInOurOrder(t *testing.T) {
	for name, c := range map[string]struct {
		ours, theirs []string
		want         uint8
		law          g711.Law
	}{
		"one":        {[]string{"8"}, []string{"8"}, 8, g711.ALaw},
		"theirs":     {[]string{"8"}, []string{"0", "97 PCMA/8000"}, 97, g711.ALaw},
		"our order":  {[]string{"9", "8", "0"}, []string{"0", "8", "9"}, 8, g711.ALaw},
		"the second": {[]string{"8", "0"}, []string{"0"}, 0, g711.ULaw},
		"no law":     {[]string{"9"}, []string{"9"}, None, g711.None},
		"not common": {[]string{"8"}, []string{"0"}, None, g711.None},
	} {
		if got, law := Speak(audio(t, c.ours...), audio(t, c.theirs...)); got != c.want || law != c.law {
			t.Errorf("%s: %d in law %d, want %d in law %d", name, got, law, c.want, c.law)
		}
	}
}

// anyFormats are formats as senders may name them: no number twice, static
// numbers for what they stand for or for something else.
func anyFormats(t *rapid.T, label string) []string {
	names := rapid.SliceOfN(rapid.SampledFrom([]string{"PCMA/8000", "PCMU/8000", "pcma/8000", "PCMU/16000", "PCMA/8000/2", "opus/48000/2",
		"G722/8000", "telephone-event/8000", "telephone-event/48000", "CN/8000", "SILK/24000", ""}), 1, 8).Draw(t, label)
	numbers := rapid.Permutation([]string{"0", "8", "9", "13", "96", "97", "98", "99", "101"}).Draw(t, label+" numbers")
	for i := range names {
		names[i] = strings.TrimSpace(numbers[i] + " " + names[i])
	}
	return names
}

func TestWhatWeChooseOfAnOfferIsAlwaysAnAnswerToIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		offer := speech(t, anyFormats(t, "offer")...)
		offer.Media[0].Direction = rapid.SampledFrom([]Direction{SendRecv, SendOnly, RecvOnly, Inactive}).Draw(t, "direction")
		asked := offer.Media[0]
		if rapid.Bool().Draw(t, "video first") {
			offer.Media = append([]Media{{Type: "video", Proto: "RTP/AVP", Addr: local.Addr}}, offer.Media...)
		}
		voice, err := Voice(offer)
		if hasLaw := slices.ContainsFunc(asked.Formats, isLaw); !hasLaw {
			if !errors.Is(err, ErrNoCommonCodec) {
				t.Fatalf("an offer without G.711: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := Answer(offer, voice, local)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		m, ok := d.Audio()
		if !ok || len(d.Media) != len(offer.Media) || d.audioIndex() != offer.audioIndex() {
			t.Fatalf("not the offer's streams:\n%s", b)
		}
		laws := 0
		for i, f := range m.Formats {
			if !slices.ContainsFunc(asked.Formats, func(g Format) bool { return g.Payload == f.Payload && f.sameAs(g) }) {
				t.Fatalf("%d was not offered as %s", f.Payload, f.Codec)
			}
			if isLaw(f) {
				laws++
			}
			if isLaw(f) != (i == 0) || !isLaw(f) && !isEvents(f) {
				t.Fatalf("answered with %v", written(m))
			}
		}
		if laws != 1 || m.Direction.Sends() && !asked.Direction.Receives() || m.Direction.Receives() && !asked.Direction.Sends() {
			t.Fatalf("%v, %s to an offer of %s", written(m), m.Direction, asked.Direction)
		}
		if number, law := Speak(m, asked); number != m.Formats[0].Payload || law != g711.LawOf(m.Formats[0].Codec) {
			t.Fatalf("we speak as %d, having answered with %v", number, written(m))
		}
	})
}

func TestABridgeMapsOnlyLawsAndOnlyToANumberThatTheReceiverNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		media := func(label string) Media { return speech(t, anyFormats(t, label)...).Media[0] }
		from, to, also := media("from"), media("to"), media("also")
		before := PayloadMap(from, to, also)
		after := before
		tables := BridgeLaws(&after, from, to, also)
		laws := Laws(from, also)
		for n := range after {
			if after[n] == before[n] {
				if tables[n] != nil {
					t.Fatalf("%d, which was mapped to %d without us, is turned", n, before[n])
				}
				continue
			}
			i := slices.IndexFunc(to.Formats, func(f Format) bool { return f.Payload == after[n] })
			if before[n] != Unmapped || laws[n] == g711.None || i < 0 || !isLaw(to.Formats[i]) {
				t.Fatalf("%d, mapped to %d, leaves as %d", n, before[n], after[n])
			}
			if want := laws[n].To(g711.LawOf(to.Formats[i].Codec)); tables[n] != want {
				t.Fatalf("%d leaves as %d by the wrong table", n, after[n])
			}
		}
	})
}

func TestNothingThatNamesTheFarSideCrossesByWhatWeChoose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := secret(t)
		d, err := Parse([]byte(hostile(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		voice, err := Voice(d)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := Answer(d, voice, local)
		if err != nil {
			t.Fatal(err)
		}
		for what, out := range map[string][]byte{"the answer": answer, "an offer of it": Anchor(voice, local),
			"an offer": Anchor(d, local), "only G.711": Anchor(OnlyG711(d), local)} {
			if !strings.Contains(string(out), " RTP/AVP 8 ") {
				t.Fatalf("%s: the audio did not cross:\n%s", what, out)
			}
			for line := range strings.SplitSeq(string(out), "\r\n") {
				if n := digits(s); strings.Contains(line, s) || strings.Contains(line, "203.0.113.5") || len(n) >= 10 && strings.Contains(digits(line), n) {
					t.Fatalf("%s: %q crossed in %q", what, s, line)
				}
			}
		}
	})
}
