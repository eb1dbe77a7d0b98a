package sdp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestParseRefusesOnlyWhatCannotBeUnderstood(t *testing.T) {
	base := "v=0\nc=IN IP4 203.0.113.5\n"
	audio := "m=audio 4000 RTP/AVP 8\n"
	for name, c := range map[string]struct {
		in string
		ok bool
	}{
		"empty":                         {"", false},
		"no v=":                         {"c=IN IP4 203.0.113.5\n" + audio, false},
		"v= only inside a stream":       {audio + "c=IN IP4 203.0.113.5\nv=0\n", false},
		"no m=":                         {base, false},
		"port is a word":                {base + "m=audio x RTP/AVP 8\n", false},
		"port above 65535":              {base + "m=audio 65536 RTP/AVP 8\n", false},
		"negative port":                 {base + "m=audio -1 RTP/AVP 8\n", false},
		"m= with two fields":            {base + "m=audio 4000\n", false},
		"no c= for open audio":          {"v=0\n" + audio, false},
		"no c= for refused audio":       {"v=0\nm=audio 0 RTP/AVP 8\n", true},
		"host name for open audio":      {"v=0\nc=IN IP4 sbc.example.net\n" + audio, false},
		"host name for video":           {base + audio + "m=video 4002 RTP/AVP 99\nc=IN IP4 sbc.example.net\n", true},
		"multicast":                     {"v=0\nc=IN IP4 224.2.1.1/127\n" + audio, false},
		"broadcast":                     {"v=0\nc=IN IP4 255.255.255.255\n" + audio, false},
		"zone":                          {"v=0\nc=IN IP6 fe80::1%eth0\n" + audio, false},
		"c= too short":                  {"v=0\nc=IN IP4\n" + audio, false},
		"address with TTL":              {"v=0\nc=IN IP4 203.0.113.5/127\n" + audio, true},
		"IPv4 inside IPv6":              {"v=0\nc=IN IP6 ::ffff:203.0.113.5\n" + audio, true},
		"no origin, no time, no name":   {base + audio, true},
		"32 streams":                    {base + strings.Repeat(audio, 32), true},
		"33 streams":                    {base + strings.Repeat(audio, 33), false},
		"2048 lines":                    {base + audio + strings.Repeat("a=x\n", 2045), true},
		"2049 lines":                    {base + audio + strings.Repeat("a=x\n", 2046), false},
		"a line of 4 KiB":               {base + audio + "a=" + strings.Repeat("x", 4094) + "\n", true},
		"a line above 4 KiB":            {base + audio + "a=" + strings.Repeat("x", 4095) + "\n", false},
		"64 KiB":                        {base + audio + strings.Repeat(strings.Repeat("x", 4095)+"\n", 15), true},
		"above 64 KiB":                  {base + audio + strings.Repeat(strings.Repeat("x", 4095)+"\n", 16), false},
		"blank lines and trailing tabs": {"\r\n\r\nv=0\t\r\nc=IN IP4 203.0.113.5 \r\n" + audio, true},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Parse([]byte(c.in))
			if c.ok && (err != nil || d == nil) {
				t.Errorf("refused: %v", err)
			}
			if !c.ok && !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v, want ErrMalformed", err)
			}
		})
	}
}

func TestAnErrorQuotesNothingOfTheDescription(t *testing.T) {
	for _, in := range []string{
		"v=0\nm=audio 919876543210 RTP/AVP 8\n", "v=0\nc=IN IP4 919876543210\nm=audio 1 RTP/AVP 8\n",
		"919876543210", "v=0\nm=919876543210\n",
	} {
		if _, err := Parse([]byte(in)); err == nil || strings.Contains(err.Error(), "9876543210") {
			t.Errorf("error is %q", err)
		}
	}
}

func TestALoggedDescriptionShowsNothingThatWasWrittenInIt(t *testing.T) {
	d := parse(t, minimal+"a=X-caller:919876543210\na=rtpmap:97 919876543210/8000\n")
	d.Media[0].Formats = append(d.Media[0].Formats, Format{Payload: 97, Codec: "919876543210", Clock: 8000, Channels: 1})
	for _, text := range []string{fmt.Sprint(d), fmt.Sprintf("%+v", d), d.LogValue().String()} {
		if strings.Contains(text, "9876543210") || strings.Contains(text, "203.0.113.5") {
			t.Errorf("logged as %s", text)
		}
		if !strings.Contains(text, "PCMA") {
			t.Errorf("%s does not name the codecs", text)
		}
	}
}

func TestTheAudioStreamIsTheFirstOpenOneOverPlainRTP(t *testing.T) {
	for name, c := range map[string]struct {
		streams string
		want    int // port, 0 = none
	}{
		"first of two":       {"m=audio 4000 RTP/AVP 8\nm=audio 4002 RTP/AVP 8\n", 4000},
		"after a closed one": {"m=audio 0 RTP/AVP 8\nm=audio 4002 RTP/AVP 8\n", 4002},
		"after SRTP":         {"m=audio 4000 RTP/SAVP 8\nm=audio 4002 RTP/AVP 8\n", 4002},
		"after video":        {"m=video 4000 RTP/AVP 99\nm=AUDIO 4002 rtp/avp 8\n", 4002},
		"SRTP only":          {"m=audio 4000 RTP/SAVP 8\n", 0},
		"AVPF only":          {"m=audio 4000 RTP/AVPF 8\n", 0},
		"video only":         {"m=video 4000 RTP/AVP 99\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := parse(t, "v=0\nc=IN IP4 203.0.113.5\n"+c.streams)
			m, ok := d.Audio()
			if ok != (c.want != 0) || int(m.Addr.Port()) != c.want {
				t.Errorf("ok=%v port %d, want %d", ok, m.Addr.Port(), c.want)
			}
			if err := CheckOffer(d); (err == nil) != ok || (!ok && !errors.Is(err, ErrNoAudio)) {
				t.Errorf("CheckOffer: %v", err)
			}
		})
	}
}

func TestRTCPGoesWhereTheAttributeSaysElseToTheNextPort(t *testing.T) {
	for attr, want := range map[string]string{
		"":                                 "203.0.113.5:4001",
		"a=rtcp:5000\n":                    "203.0.113.5:5000",
		"a=rtcp:5000 IN IP4 203.0.113.6\n": "203.0.113.6:5000",
		"a=rtcp:5000 IN IP4 evil.test\n":   "203.0.113.5:5000",
		"a=rtcp:0\n":                       "203.0.113.5:4001",
		"a=rtcp:x\na=rtcp-mux\n":           "203.0.113.5:4001",
	} {
		m, _ := parse(t, "v=0\nc=IN IP4 203.0.113.5\nm=audio 4000 RTP/AVP 8\n"+attr).Audio()
		if m.RTCP.String() != want {
			t.Errorf("%q: RTCP to %v, want %v", attr, m.RTCP, want)
		}
	}
	m, _ := parse(t, "v=0\nc=IN IP4 203.0.113.5\nm=audio 65535 RTP/AVP 8\n").Audio()
	if m.RTCP.IsValid() {
		t.Errorf("RTCP after the last port: %v", m.RTCP)
	}
}

func TestHoldIsSeenInDirectionAndAddress(t *testing.T) {
	for name, c := range map[string]struct {
		conn, dir string
		want      Direction
		held      bool
	}{
		"talking":                  {"203.0.113.5", "", SendRecv, false},
		"sendonly":                 {"203.0.113.5", "a=sendonly\n", SendOnly, true},
		"inactive":                 {"203.0.113.5", "a=inactive\n", Inactive, true},
		"recvonly":                 {"203.0.113.5", "a=recvonly\n", RecvOnly, false},
		"zero address":             {"0.0.0.0", "", SendOnly, true},
		"zero address, sendrecv":   {"0.0.0.0", "a=sendrecv\n", SendOnly, true},
		"zero address, recvonly":   {"0.0.0.0", "a=recvonly\n", Inactive, true},
		"upper case":               {"203.0.113.5", "a=SENDONLY\n", SendOnly, true},
		"two attributes: first is": {"203.0.113.5", "a=recvonly\na=sendonly\n", RecvOnly, false},
	} {
		t.Run(name, func(t *testing.T) {
			m, ok := parse(t, "v=0\nc=IN IP4 "+c.conn+"\nm=audio 4000 RTP/AVP 8\n"+c.dir).Audio()
			if !ok || m.Direction != c.want || m.Held() != c.held {
				t.Errorf("ok=%v %s held=%v", ok, m.Direction, m.Held())
			}
		})
	}
}

func TestDirectionSaysWhoSendsAndWhoReceives(t *testing.T) {
	for d, want := range map[Direction][2]bool{
		SendRecv: {true, true}, SendOnly: {true, false}, RecvOnly: {false, true}, Inactive: {false, false},
	} {
		if got := [2]bool{d.Sends(), d.Receives()}; got != want || DirectionOf(want[0], want[1]) != d {
			t.Errorf("%s: %v, back %s", d, got, DirectionOf(want[0], want[1]))
		}
	}
}

func TestTheLinesAreKeptAsTheyCame(t *testing.T) {
	d := parse(t, "v=0\r\nnonsense\r\nb=AS:64\r\nc=IN IP4 203.0.113.5\r\nm=audio 4000 RTP/AVP 8\r\na=X-odd: kept \r\n")
	want := []Line{{'v', "0"}, {0, "nonsense"}, {'b', "AS:64"}, {'c', "IN IP4 203.0.113.5"}}
	if fmt.Sprint(d.Lines) != fmt.Sprint(want) {
		t.Errorf("session %v, want %v", d.Lines, want)
	}
	if got := d.Media[0].Lines; len(got) != 2 || got[1] != (Line{'a', "X-odd: kept"}) {
		t.Errorf("stream %v", got)
	}
}

func TestAFormatIsReadFromItsMapElseFromTheStaticTable(t *testing.T) {
	d := parse(t, "v=0\nc=IN IP4 203.0.113.5\nm=audio 4000 RTP/AVP 0 3 8 9 13 18 4 96 97 98\n"+
		"a=rtpmap:96 opus/48000/2\na=fmtp:96 stereo=1\na=rtpmap:97 L16\na=rtpmap:8 PCMU/8000\n")
	want := []Format{
		{0, "PCMU", 8000, 1, ""}, {3, "GSM", 8000, 1, ""}, {8, "PCMU", 8000, 1, ""}, {9, "G722", 8000, 1, ""},
		{13, "CN", 8000, 1, ""}, {18, "G729", 8000, 1, ""}, {4, "", 0, 1, ""}, {96, "opus", 48000, 2, "stereo=1"},
		{97, "L16", 0, 1, ""}, {98, "", 0, 1, ""},
	}
	if got := d.Media[0].Formats; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("\n%v, want\n%v", got, want)
	}
}

func TestTheVersionNeedsToRiseOnlyWhenMoreThanTheOriginDiffers(t *testing.T) {
	d := parse(t, minimal)
	one := Anchor(d, Local{Addr: local.Addr, SessionID: 1, Version: 1})
	if Changed(one, Anchor(d, Local{Addr: local.Addr, SessionID: 1, Version: 2})) {
		t.Error("a new version alone counts as a change")
	}
	d.Media[0].Direction = SendOnly
	if !Changed(one, Anchor(d, Local{Addr: local.Addr, SessionID: 1, Version: 1})) {
		t.Error("a new direction does not count as a change")
	}
	if !Changed(nil, one) || Changed(nil, nil) {
		t.Error("nothing before is a change, nothing at all is none")
	}
}

func TestTheSumOfADescriptionTellsWhetherMoreThanItsOriginAndLineEndsDiffers(t *testing.T) {
	const one = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nm=audio 4000 RTP/AVP 8\r\n"
	for other, same := range map[string]bool{
		one:                                   true,
		strings.ReplaceAll(one, "\r\n", "\n"): true,
		strings.TrimSpace(one):                true,
		strings.Replace(one, "- 1 1", "- 1 2", 1): true,
		strings.Replace(one, "4000", "4002", 1):   false,
		strings.Replace(one, "s=-\r\n", "s=", 1):  false,
		one + "a=sendonly\r\n":                    false,
		"":                                        false,
	} {
		if got := Sum([]byte(one)) == Sum([]byte(other)); got != same {
			t.Errorf("the same as %q: %v", other, got)
		}
	}
}

func TestAnEventListIsWrittenAsTheWidestUsualRange(t *testing.T) {
	for list, want := range map[string]string{
		"0-15": "0-15", "0-16": "0-16", "0-16,66,70": "0-16", "0-11": "0-11", "0-9": "0-9", "": "",
		"0,1,2,3,4,5,6,7,8,9,10,11": "0-11", "1-15": "", "0-15,919876543210": "0-15", "15-0": "", "x": "", "0-999": "", "0-255": "0-16",
	} {
		if got := eventRange(list); got != want {
			t.Errorf("%q becomes %q, want %q", list, got, want)
		}
	}
}

func TestParametersAreRewrittenFromTheListOrDropped(t *testing.T) {
	for _, c := range []struct{ codec, in, want string }{
		{"AMR", "OCTET-ALIGN = 1 ; mode-set=0,9 ; crc=2; interleaving=31;x=1", "octet-align=1"},
		{"AMR", "mode-set=0,8", ""},
		{"AMR", "mode-change-period=1;mode-change-neighbor=1;robust-sorting=1;max-red=1000", "mode-change-period=1;mode-change-neighbor=1;robust-sorting=1"},
		{"G729", "annexb=yes;note=919876543210", "annexb=yes"},
		{"iLBC", "mode=9876543210", ""},
		{"speex", "vbr=VAD;mode=8;cng=on", "vbr=vad;cng=on;mode=8"},
		{"PCMA", "x=1", ""},
		{"opus", "maxaveragebitrate=511000;maxplaybackrate=44100;cbr=1;minptime=-1;usedtx=yes", "cbr=1"},
	} {
		f := Format{Codec: c.codec, Params: c.in, Channels: 1, Clock: 8000}
		if c.codec == "opus" {
			f.Channels, f.Clock = 2, 48000
		}
		k, ok := codecFor(f)
		if !ok {
			t.Fatalf("%s is not known", c.codec)
		}
		if got := neutralParams(f, k); got != c.want {
			t.Errorf("%s %q becomes %q, want %q", c.codec, c.in, got, c.want)
		}
	}
}

func TestACopiedAddressIsNeverWritten(t *testing.T) {
	for _, c := range golden {
		d := parse(t, c.in)
		out := string(Anchor(d, local))
		for _, m := range d.Media {
			if a := m.Addr.Addr(); a.IsValid() && a != netip.IPv4Unspecified() && strings.Contains(out, a.String()) {
				t.Errorf("%s: %v crossed", c.name, a)
			}
		}
	}
}
