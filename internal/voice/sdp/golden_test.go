package sdp

import (
	"net/netip"
	"strings"
	"testing"
)

// local is our end in every golden description.
var local = Local{Addr: netip.MustParseAddrPort("198.51.100.1:40000"), SessionID: 7, Version: 3}

const head = "v=0\no=- 7 3 IN IP4 198.51.100.1\ns=-\nc=IN IP4 198.51.100.1\nt=0 0\n"

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// golden are descriptions in the shapes that real senders give them, and what
// we make of them for the other leg.
var golden = []struct {
	name, in, want string
}{
	{
		name: "Asterisk with video refused by us",
		in: crlf(`v=0
o=- 1836281910 1836281912 IN IP4 203.0.113.9
s=Asterisk
c=IN IP4 203.0.113.9
t=0 0
m=audio 14692 RTP/AVP 8 0 3 101
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:3 GSM/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
a=maxptime:150
a=sendrecv
m=video 15000 RTP/AVP 99
a=rtpmap:99 H264/90000
a=fmtp:99 redundant-pic-cap=0;profile-level-id=42C01F
a=sendrecv
`),
		want: head + `m=audio 40000 RTP/AVP 8 0 3 101
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:3 GSM/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
a=maxptime:150
a=sendrecv
m=video 0 RTP/AVP 0
`,
	},
	{
		name: "FreeSWITCH with static numbers not mapped and a silenceSupp attribute",
		in: crlf(`v=0
o=FreeSWITCH 1718000001 1718000002 IN IP4 203.0.113.7
s=FreeSWITCH
c=IN IP4 203.0.113.7
t=0 0
m=audio 27504 RTP/AVP 102 9 0 8 104 101 13
a=rtpmap:102 opus/48000/2
a=fmtp:102 useinbandfec=1; maxaveragebitrate=30123; maxplaybackrate=48000; ptime=20; minptime=10; maxptime=40
a=rtpmap:104 telephone-event/48000
a=fmtp:104 0-15
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=silenceSupp:off - - - -
a=rtcp:27505 IN IP4 203.0.113.7
a=ptime:20
`),
		want: head + `m=audio 40000 RTP/AVP 102 9 0 8 104 101 13
a=rtpmap:102 opus/48000/2
a=fmtp:102 maxplaybackrate=48000;maxaveragebitrate=30000;useinbandfec=1;minptime=10
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:104 telephone-event/48000
a=fmtp:104 0-15
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=rtpmap:13 CN/8000
a=ptime:20
a=sendrecv
`,
	},
	{
		name: "carrier border controller with T.38 beside audio, bandwidth before c= and media-level c=",
		in: crlf(`v=0
o=SBC-MUM-04 398475 398475 IN IP4 203.0.113.77
s=sip call
b=CT:64
c=IN IP4 203.0.113.77
t=0 0
m=image 23512 udptl t38
a=T38FaxVersion:0
a=T38MaxBitRate:14400
a=T38FaxRateManagement:transferredTCF
m=audio 23510 RTP/AVP 18 8 101
b=AS:64
c=IN IP4 203.0.113.78
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=NO
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15,32-36
a=sendonly
`),
		want: head + `m=image 0 udptl t38
m=audio 40000 RTP/AVP 18 8 0 101
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=no
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=sendonly
`,
	},
	{
		name: "mobile network with AMR in both framings",
		in: crlf(`v=0
o=- 0 0 IN IP4 203.0.113.20
s=-
c=IN IP4 203.0.113.20
t=0 0
m=audio 50010 RTP/AVP 104 102 105 100
a=rtpmap:104 AMR-WB/16000/1
a=fmtp:104 mode-set=2,1,0;mode-change-period=2;mode-change-capability=2;max-red=0
a=rtpmap:102 AMR/8000
a=fmtp:102 octet-align=1;mode-set=7
a=rtpmap:105 telephone-event/16000
a=fmtp:105 0-15
a=rtpmap:100 telephone-event/8000
a=curr:qos local none
a=des:qos mandatory local sendrecv
a=maxptime:240
a=inactive
`),
		want: head + `m=audio 40000 RTP/AVP 104 102 105 100
a=rtpmap:104 AMR-WB/16000
a=fmtp:104 mode-set=0,1,2;mode-change-period=2;mode-change-capability=2;max-red=0
a=rtpmap:102 AMR/8000
a=fmtp:102 octet-align=1;mode-set=7
a=rtpmap:105 telephone-event/16000
a=fmtp:105 0-15
a=rtpmap:100 telephone-event/8000
a=maxptime:240
a=inactive
`,
	},
	{
		name: "browser-like offer with an SRTP stream first and plain RTP second",
		in: crlf(`v=0
o=mozilla...THIS_IS_SDPARTA-99.0 4215775240449105457 0 IN IP4 0.0.0.0
s=-
t=0 0
a=fingerprint:sha-256 2A:11:7B:00
a=group:BUNDLE 0 1
a=msid-semantic:WMS *
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=candidate:0 1 UDP 2122252543 3f2a.local 49170 typ host
a=ice-ufrag:9b1c
a=mid:0
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=ssrc:823917 cname:{b1f9e2}
m=audio 49180 RTP/AVP 111 126 8
c=IN IP4 203.0.113.30
a=rtpmap:111 OPUS/48000/2
a=fmtp:111 minptime=10;useinbandfec=1;stereo=0;x-id=42
a=rtpmap:126 telephone-event/8000
a=ssrc:823918 cname:{b1f9e2}
a=msid:- {77aa}
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
a=sctp-port:5000
`),
		want: head + `m=audio 0 UDP/TLS/RTP/SAVPF 0
m=audio 40000 RTP/AVP 111 126 8 0
a=rtpmap:111 opus/48000/2
a=fmtp:111 stereo=0;useinbandfec=1;minptime=10
a=rtpmap:126 telephone-event/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=sendrecv
m=application 0 UDP/DTLS/SCTP *
`,
	},
	{
		name: "bare line feeds, no last line end, blanks, unknown lines, attributes before c=",
		in:   "\n v=0\no=x 1 1 IN IP4 203.0.113.5\nnonsense\ns=\nt=0 0\n$=?\nm=audio 4000/2 rtp/avp 8 8 300 x 97 96 98\na=rtpmap:8 pcma/8000\na=rtpmap:97 SILK/24000\na=rtpmap:96 PCMA/9876543210\na=rtpmap:98 iLBC/8000\na=fmtp:98 mode=20\na=recvonly\na=ptime:20.0\nc=IN IP4 203.0.113.5",
		want: head + `m=audio 40000 RTP/AVP 8 98 0
a=rtpmap:8 PCMA/8000
a=rtpmap:98 iLBC/8000
a=fmtp:98 mode=20
a=rtpmap:0 PCMU/8000
a=ptime:20
a=recvonly
`,
	},
	{
		name: "carriage returns alone and a NUL at the end",
		in:   "v=0\ro=- 1 1 IN IP4 203.0.113.5\rs=-\rc=IN IP4 203.0.113.5\rt=0 0\rm=audio 4000 RTP/AVP 8\r\x00",
		want: head + "m=audio 40000 RTP/AVP 8 0\na=rtpmap:8 PCMA/8000\na=rtpmap:0 PCMU/8000\na=sendrecv\n",
	},
	{
		name: "hold in the style of RFC 2543",
		in:   crlf("v=0\no=- 1 2 IN IP4 203.0.113.5\ns=-\nc=IN IP4 0.0.0.0\nt=0 0\nm=audio 4000 RTP/AVP 0\n"),
		want: head + "m=audio 40000 RTP/AVP 0 8\na=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\na=sendonly\n",
	},
	{
		name: "direction of the session, overridden by nothing",
		in:   crlf("v=0\no=- 1 2 IN IP4 203.0.113.5\ns=-\nc=IN IP4 203.0.113.5\nt=0 0\na=sendonly\nm=audio 4000 RTP/AVP 0\n"),
		want: head + "m=audio 40000 RTP/AVP 0 8\na=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\na=sendonly\n",
	},
	{
		name: "only codecs that nobody knows, and words for type and transport that are none",
		in:   crlf("v=0\no=- 1 2 IN IP4 203.0.113.5\ns=-\nc=IN IP4 203.0.113.5\nt=0 0\nm=audio 4000 RTP/AVP 97 101\na=rtpmap:97 SILK/24000\na=rtpmap:101 telephone-event/8000\nm=x-919876543210 4002 x/919876543210 1\n"),
		want: head + "m=audio 0 RTP/AVP 0\nm=application 0 udp *\n",
	},
}

func TestDescriptionsOfRealSendersAreAnchoredAsTheGoldenOnes(t *testing.T) {
	for _, c := range golden {
		t.Run(c.name, func(t *testing.T) {
			d, err := Parse([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(Anchor(d, local)), crlf(c.want); got != want {
				t.Errorf("anchored:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestAnchoredOverIPv6UsesThatFamily(t *testing.T) {
	d := parse(t, "v=0\ns=-\nc=IN IP6 2001:db8::9\nm=audio 4000 RTP/AVP 8\n")
	out := string(Anchor(d, Local{Addr: netip.MustParseAddrPort("[2001:db8::1]:40000"), SessionID: 1}))
	for _, want := range []string{"o=- 1 0 IN IP6 2001:db8::1\r\n", "c=IN IP6 2001:db8::1\r\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if m, _ := d.Audio(); m.RTCP != netip.MustParseAddrPort("[2001:db8::9]:4001") {
		t.Errorf("RTCP at %v", m.RTCP)
	}
}

func TestAnOfferWithoutOurOwnAddressIsRefusedThroughout(t *testing.T) {
	d := parse(t, minimal)
	if out := string(Anchor(d, Local{SessionID: 1})); !strings.Contains(out, "m=audio 0 RTP/AVP 0\r\n") {
		t.Errorf("an audio stream is open at no address:\n%s", out)
	}
}

const minimal = "v=0\no=- 1 1 IN IP4 203.0.113.5\ns=-\nc=IN IP4 203.0.113.5\nt=0 0\nm=audio 4000 RTP/AVP 8 0 101\na=rtpmap:101 telephone-event/8000\n"

func parse(t *testing.T, text string) *Description {
	t.Helper()
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}
