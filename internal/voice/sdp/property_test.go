package sdp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// secret draws something that identifies a far side, in one of the spellings
// in which it must not cross.
func secret(t *rapid.T) string {
	number := rapid.StringMatching(`[6-9][0-9]{9}`).Draw(t, "number")
	return rapid.SampledFrom([]string{
		number, "+91" + number, "0" + number, number[:5] + "-" + number[5:],
		"pbx-" + number[:6] + ".example.net", "Name" + number[4:],
	}).Draw(t, "secret")
}

// hostile draws a description that names s in every place that a sender
// controls and that a tolerant parser reads, and keeps one codec that crosses.
func hostile(t *rapid.T, s string) string {
	session := []string{"o=" + s + " 1 1 IN IP4 203.0.113.5", "s=" + s, "i=" + s, "u=http://" + s + "/", "e=" + s + "@" + s, "p=" + s,
		"b=" + s + ":64", "k=clear:" + s, "r=" + s, "z=" + s, "a=tool:" + s, "a=group:BUNDLE " + s, "a=cname:" + s,
		"a=msid-semantic:" + s, "a=ice-ufrag:" + s, "a=" + s, "a=X-" + s + ":1", "$=" + s, s}
	media := []string{"i=" + s, "b=" + s + ":64", "k=clear:" + s, "a=rtcp:4001 IN IP4 " + s, "a=candidate:" + s + " 1 UDP 1 " + s + " 1 typ host",
		"a=ssrc:1 cname:" + s, "a=msid:" + s + " " + s, "a=fingerprint:sha-256 " + s, "a=X-caller:" + s, "a=label:" + s, "a=mid:" + s,
		"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + s, "a=ptime:" + s, "a=maxptime:" + s, "a=rtpmap:97 " + s + "/8000",
		"a=rtpmap:98 PCMA/" + s, "a=rtpmap:100 opus/48000/" + s, "a=fmtp:8 " + s, "a=fmtp:18 annexb=" + s + ";" + s + "=yes",
		"a=fmtp:99 mode-set=" + s + ";octet-align=" + s + ";max-red=" + s + ";interleaving=" + s + ";X=" + s,
		"a=fmtp:101 " + s + ",0-15," + s, "a=fmtp:102 maxaveragebitrate=" + s + ";maxplaybackrate=" + s + ";minptime=" + s,
		"a=fmtp:103 mode=" + s, "a=" + s, "$=" + s, s, "a=sendrecv:" + s, "a=rtcp-fb:8 " + s}
	lines := []string{"v=0", "c=IN IP4 203.0.113.5"}
	lines = append(lines, rapid.Permutation(session).Draw(t, "session")...)
	streams := []string{"m=" + s + " 4000 " + s + " " + s, "m=audio 4000 RTP/SAVP " + s, "m=video 4000 RTP/AVP " + s}
	if rapid.Bool().Draw(t, "other streams first") {
		lines = append(lines, streams...)
	}
	lines = append(lines, "m=audio 4000 RTP/AVP 8 97 98 18 99 100 101 102 103 "+s,
		"a=rtpmap:99 AMR/8000", "a=rtpmap:101 telephone-event/8000", "a=rtpmap:102 opus/48000/2", "a=rtpmap:103 speex/8000")
	lines = append(lines, rapid.Permutation(media).Draw(t, "media")...)
	lines = append(lines, streams...)
	return strings.Join(lines, rapid.SampledFrom([]string{"\r\n", "\n", "\r"}).Draw(t, "line end"))
}

// digits keeps the digits of b, so that separators hide nothing.
func digits(b string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, b)
}

func TestNothingThatNamesTheFarSideCrosses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := secret(t)
		d, err := Parse([]byte(hostile(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := Answer(d, d, local)
		if err != nil {
			t.Fatal(err)
		}
		for _, out := range []string{string(Anchor(d, local)), string(answer)} {
			if !strings.Contains(out, " RTP/AVP 8 ") {
				t.Fatalf("the audio did not cross:\n%s", out)
			}
			for _, gone := range []string{s, "203.0.113.5"} {
				if strings.Contains(out, gone) {
					t.Fatalf("%q crossed:\n%s", gone, out)
				}
			}
			for line := range strings.SplitSeq(out, "\r\n") {
				if n := digits(s); len(n) >= 10 && strings.Contains(digits(line), n) { // fewer are there by chance
					t.Fatalf("the digits of %q crossed in %q", s, line)
				}
			}
		}
	})
}

func TestAnAnchoredDescriptionReadsBackAsItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, err := Parse([]byte(hostile(t, secret(t))))
		if err != nil {
			t.Fatal(err)
		}
		once := Anchor(d, local)
		back, err := Parse(once)
		if err != nil {
			t.Fatalf("our own description is refused: %v\n%s", err, once)
		}
		if twice := Anchor(back, local); !bytes.Equal(once, twice) {
			t.Fatalf("\n%s\nbecame\n%s", once, twice)
		}
	})
}

func TestAPayloadMapNeverMixesCodecs(t *testing.T) {
	media := func(t *rapid.T, label string) Media {
		names := rapid.Permutation([]string{"PCMA/8000", "PCMU/8000", "opus/48000/2", "G722/8000", "telephone-event/8000", "SILK/24000"}).Draw(t, label)
		names = names[:rapid.IntRange(1, len(names)).Draw(t, label+" count")]
		first := rapid.IntRange(90, 110).Draw(t, label+" first")
		list, maps := "", ""
		for i, name := range names {
			list += fmt.Sprintf(" %d", first+i)
			maps += fmt.Sprintf("a=rtpmap:%d %s\n", first+i, name)
		}
		d, err := Parse([]byte("v=0\nc=IN IP4 203.0.113.5\nm=audio 4000 RTP/AVP" + list + "\n" + maps))
		if err != nil {
			t.Fatal(err)
		}
		return d.Media[0]
	}
	codec := func(m Media, n int) string {
		for _, f := range m.Formats {
			if int(f.Payload) == n {
				return f.Codec
			}
		}
		return ""
	}
	rapid.Check(t, func(t *rapid.T) {
		from, to, also := media(t, "from"), media(t, "to"), media(t, "also")
		for n, out := range PayloadMap(from, to, also) {
			if out == Unmapped {
				continue
			}
			in := codec(from, n)
			if in == "" {
				in = codec(also, n)
			}
			if in == "" || in != codec(to, int(out)) || in == "SILK" {
				t.Fatalf("%d (%s) becomes %d (%s)", n, in, out, codec(to, int(out)))
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, c := range golden {
		f.Add([]byte(c.in))
	}
	f.Add([]byte("v=0\nc=IN IP6 ::\nm=audio 1 RTP/AVP 127\na=fmtp:127"))
	f.Fuzz(func(t *testing.T, in []byte) {
		d, err := Parse(in)
		if err != nil {
			return
		}
		_, _ = fmt.Sprint(d), CheckOffer(d)
		once := Anchor(d, local)
		back, err := Parse(once)
		if err != nil {
			t.Fatalf("our own description is refused: %v\n%s", err, once)
		}
		if len(back.Media) != len(d.Media) {
			t.Fatalf("%d streams became %d", len(d.Media), len(back.Media))
		}
		if twice := Anchor(back, local); !bytes.Equal(once, twice) {
			t.Fatalf("\n%s\nbecame\n%s", once, twice)
		}
		for _, m := range d.Media {
			PayloadMap(m, m, m)
			ClockRates(m)
		}
		if voice, err := Voice(d); err == nil {
			if _, err := Answer(d, voice, local); err != nil {
				t.Fatalf("what we chose of it is no answer: %v", err)
			}
		}
		if other := OnlyG711(d); (CheckOffer(other) == nil) != (CheckOffer(d) == nil) {
			t.Fatalf("%v became %v", CheckOffer(d), CheckOffer(other))
		}
		if _, err := Answer(d, d, local); (err == nil) != (CheckOffer(d) == nil) {
			t.Fatalf("Answer to itself: %v, CheckOffer: %v", err, CheckOffer(d))
		}
	})
}
