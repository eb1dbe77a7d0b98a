package ladder

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestALadderIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w Writer
		var want Ladder
		legs := rapid.IntRange(1, 4).Draw(t, "legs")
		for i := range legs {
			l := Leg{Name: legName(i), Trunk: rapid.StringN(0, 20, maxText).Draw(t, "trunk"),
				Transport: rapid.SampledFrom(transports[:]).Draw(t, "transport")}
			w.Leg(l.Trunk, l.Transport)
			want.Legs = append(want.Legs, l)
		}
		var at time.Duration
		for range rapid.IntRange(0, 20).Draw(t, "messages") {
			at += time.Duration(rapid.Int64Range(0, 1e7).Draw(t, "gap")) * time.Microsecond
			m := Message{After: at, Leg: rapid.IntRange(0, legs-1).Draw(t, "leg"), Out: rapid.Bool().Draw(t, "out"),
				Again: rapid.Bool().Draw(t, "again"), Digit: rapid.Bool().Draw(t, "digit"),
				Method: rapid.SampledFrom(methods[:]).Draw(t, "method"), Seq: rapid.Uint32().Draw(t, "seq"),
				Status: rapid.SampledFrom([]int{0, 100, 180, 200, 487, 699}).Draw(t, "status"),
				Number: rapid.SampledFrom([]string{"", "+91…02", "00…11"}).Draw(t, "number")}
			for range rapid.IntRange(0, 3).Draw(t, "fields") {
				m.Fields = append(m.Fields, Field{Key(rapid.Byte().Draw(t, "key")), rapid.Uint64().Draw(t, "value")})
			}
			if rapid.Bool().Draw(t, "media") {
				m.Described, m.Media = true, Media{Direction: Direction(rapid.IntRange(0, 3).Draw(t, "direction")), Refused: rapid.Bool().Draw(t, "refused"),
					Secure: rapid.Bool().Draw(t, "secure"), Codecs: rapid.SliceOfN(rapid.Byte(), 0, maxCodecs).Draw(t, "codecs")}
			}
			w.Add(m)
			want.Messages = append(want.Messages, m)
		}
		got, err := Read(w.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		same := func(a, b Message) bool {
			if !slices.Equal(a.Fields, b.Fields) || !slices.Equal(a.Media.Codecs, b.Media.Codecs) {
				return false
			}
			a.Fields, b.Fields, a.Media.Codecs, b.Media.Codecs = nil, nil, nil, nil // none may be nil or empty
			return reflect.DeepEqual(a, b)
		}
		if !slices.Equal(got.Legs, want.Legs) || !slices.EqualFunc(got.Messages, want.Messages, same) || got.LeftOut != 0 {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	})
}

func TestMessagesBeyondTheMostAreCountedOnly(t *testing.T) {
	var w Writer
	leg := w.Leg("carrier", "udp")
	for i := range most + 7 {
		w.Add(Message{After: time.Duration(i) * time.Second, Leg: leg, Method: "OPTIONS", Seq: uint32(i)})
	}
	l, err := Read(w.Bytes())
	if err != nil || len(l.Messages) != most || l.LeftOut != 7 {
		t.Errorf("%d messages, %d left out, %v", len(l.Messages), l.LeftOut, err)
	}
}

func TestTimeNeverGoesBackInALadder(t *testing.T) {
	var w Writer
	leg := w.Leg("carrier", "udp")
	for _, at := range []time.Duration{time.Second, time.Millisecond, 2 * time.Second} {
		w.Add(Message{After: at, Leg: leg, Method: "INFO"})
	}
	l, err := Read(w.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []time.Duration{time.Second, time.Second, 2 * time.Second} {
		if l.Messages[i].After != want {
			t.Errorf("message %d after %v, want %v", i, l.Messages[i].After, want)
		}
	}
}

func TestNothingSeenIsNoBytes(t *testing.T) {
	if b := new(Writer).Bytes(); b != nil {
		t.Errorf("%x", b)
	}
	if l, err := Read(nil); err != nil || len(l.Messages) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestHideShowsHowANumberIsWrittenAndNotWhichItIs(t *testing.T) {
	for user, want := range map[string]string{
		"+919900000001": "+91…01", "+91-99000-00001": "+91…01", "919900000001": "…01", "09900000001": "0…01",
		"00919900000001": "00…01", "0000000000": "00…00", "9900000001;npdi;rn=+9140": "…01", "+14155550100;phone-context=x": "+1…00",
		"alice": "", "anonymous": "", "112": "", "": "", "+": "", "99000x00001": "", strings.Repeat("9", 30): "",
	} {
		if got := Hide(user); got != want {
			t.Errorf("Hide(%q) = %q, want %q", user, got, want)
		}
	}
}

func TestWordsAreWrittenAsInMessages(t *testing.T) {
	for text, got := range map[string]string{
		"Reason: Q.850;cause=16":             Field{ReasonQ850, 16}.String(),
		"refresher=uas":                      Field{Refresher, 2}.String(),
		"Require: 100rel, timer":             Field{Require, Require100rel | RequireTimer}.String(),
		"Min-SE: 90":                         Field{MinSE, 90}.String(),
		"Proxy-Authenticate":                 Field{Challenged, 2}.String(),
		"field 200: 1":                       Field{200, 1}.String(),
		"PCMA telephone-event SRTP sendonly": Media{Direction: SendOnly, Secure: true, Codecs: []byte{CodecOf([]byte("pcma")), CodecOf([]byte("telephone-event"))}}.String(),
		"no audio":                           Media{Refused: true}.String(),
		"486 Busy Here":                      Message{Status: 486}.Title(),
		"699":                                Message{Status: 699}.Title(),
		"BYE":                                Message{Method: MethodOf([]byte("BYE"))}.Title(),
		"OTHER":                              Message{Method: MethodOf([]byte("+919900000001"))}.Title(),
	} {
		if got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
}

func FuzzReadRefusesWhatIsNoLadder(f *testing.F) {
	var w Writer
	leg := w.Leg("carrier", "tcp")
	w.Add(Message{After: time.Second, Leg: leg, Method: "INVITE", Seq: 1, Number: "+91…02",
		Fields: []Field{{MaxForwards, 70}}, Described: true, Media: Media{Codecs: []byte{1, 2}}})
	f.Add(w.Bytes())
	f.Add([]byte{entryLeftOut, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Read(b)
		if err != nil {
			return
		}
		for _, m := range l.Messages {
			if m.Leg < 0 || m.Leg >= len(l.Legs) {
				t.Fatal("a message of no leg")
			}
			_ = m.Title()
			_ = m.Media.String()
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	b.ReportAllocs()
	codecs := []byte{2, 9}
	for b.Loop() {
		var w Writer
		for range 14 {
			w.Add(Message{Leg: 0, Method: "INVITE", Seq: 1, Fields: []Field{{MaxForwards, 70}}, Described: true, Media: Media{Codecs: codecs}})
		}
		bytes.Equal(w.buf, nil)
	}
}
