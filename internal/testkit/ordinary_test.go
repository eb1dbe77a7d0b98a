package testkit_test

import (
	"testing"

	"tandem/internal/testkit"
)

// ordinary are messages as carriers send them, about other numbers than those looked for.
var ordinary = []string{
	"INVITE sip:+914000000001@203.0.113.10:5060;user=phone SIP/2.0\r\n" +
		"Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK7d9f3c1a20b8e4551763908;rport\r\n" +
		"Record-Route: <sip:198.51.100.7;lr;ftag=as5d9e3b0c;did=7a1.9b2>\r\n" +
		"Max-Forwards: 69\r\n" +
		"From: \"Call Centre\" <sip:+914000000002@198.51.100.7>;tag=as5d9e3b0c\r\n" +
		"To: <sip:+914000000001@203.0.113.10>\r\n" +
		"Contact: <sip:+914000000002@198.51.100.7:5060;transport=udp>;expires=3600\r\n" +
		"Call-ID: 3f0a9c5e6b7d48219a0c1d2e3f405162@198.51.100.7\r\n" +
		"CSeq: 102 INVITE\r\n" +
		"Session-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\n" +
		"Identity: eyJhbGciOiJFUzI1NiIsInR5cCI6InBhc3Nwb3J0In0.eyJvcmlnIjp7InRuIjoiOTE0MDAwMDAwMDAyIn19.c2lnbmF0dXJl;alg=ES256\r\n" +
		"Date: Sat, 13 Nov 2010 23:29:00 GMT\r\n" +
		"Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, MESSAGE\r\n" +
		"Supported: replaces, timer, 100rel\r\nUser-Agent: SBC 7.2.1-204 (build 20240611093045)\r\n" +
		"Content-Type: application/sdp\r\nContent-Length: 330\r\n\r\n" +
		"v=0\r\no=- 1718098245 1718098246 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n" +
		"m=audio 17234 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n" +
		"a=fmtp:101 0-15\r\na=ptime:20\r\na=rtcp:17235\r\n" +
		"a=fingerprint:sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:12:34:56:78:90:AB:CD:EF:01:23:45:67\r\n" +
		"a=ssrc:2890844526 cname:{0c1d2e3f-4051-6273-8495-a6b7c8d9eaf0}\r\na=sendrecv\r\n",
	"SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/TCP [2001:db8::9:1]:5060;branch=z9hG4bK-524287-1---8f7e6d5c4b3a2910\r\n" +
		"WWW-Authenticate: Digest realm=\"x\",nonce=\"1718098245:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\",algorithm=SHA-256\r\n\r\n",
	"REGISTER sip:198.51.100.7 SIP/2.0\r\nCall-ID: 0123456789abcdef0123456789abcdef\r\nCSeq: 1804289383 REGISTER\r\n" +
		"Authorization: Digest response=\"6629fae49393a05397450978507c4ef1\",cnonce=\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\"\r\n\r\n",
	"{\"greenvn_id\":\"8c1f0e52-3a7b-4d1e-9c0f-6b5a49382716\",\"virtual_number\":\"+914000000001\",\"created_at\":\"2024-06-15T10:30:00+05:30\"}",
}

func TestOrdinaryTrafficGivesNoFalseAlarm(t *testing.T) {
	d := testkit.NewLeakDetector(number, "+914012345678", "+12025550123", "+4930123456", "+919812345678")
	for _, m := range ordinary {
		testkit.AssertNoLeak(t, d, "ordinary", []byte(m))
	}
}
