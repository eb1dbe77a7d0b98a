package testkit

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"tandem/internal/voice/phone"
)

// A LeakyCarrier tells the numbers it is given in every place that a message, a
// description or a packet has for them. Put on one leg, nothing of it may be found on
// the other.
type LeakyCarrier struct {
	Display       string         // for From and To
	Headers       []phone.Header // for requests and responses alike
	Request       []phone.Header // for requests only
	Response      []phone.Header // for responses only
	ContactParams string
	SDPLines      []string
	Bodies        []phone.Request // bodies that are not SDP, for requests within the dialog
	RTCP          []byte          // SDES with CNAME, NAME, EMAIL, PHONE, LOC, TOOL and NOTE, an APP and a BYE with a reason
	Extension     []byte          // RTP header extension
}

// Leaky makes a carrier that leaks one number, in E.164 form.
func Leaky(number string) LeakyCarrier {
	n := number
	digits := strings.TrimPrefix(n, "+")
	return LeakyCarrier{
		Display:       "Owner " + n,
		Headers:       append(identityHeaders(n, digits), infoHeaders(n, digits)...),
		Request:       requestHeaders(n, digits),
		Response:      responseHeaders(n, digits),
		ContactParams: `;x-owner="` + n + `";+sip.instance="<urn:uuid:` + digits + `>"`,
		SDPLines:      leakyLines(n, digits),
		Bodies:        leakyBodies(n, digits),
		RTCP:          leakyRTCP(n),
		Extension:     append([]byte{1, byte(len(n))}, n...),
	}
}

// Apply puts the carrier's secrets into a phone's options, so that every message
// and packet of it bears them.
func (l LeakyCarrier) Apply(o *phone.Options) {
	o.Headers = append(o.Headers, l.Headers...)
	o.ContactParams += l.ContactParams
	o.RTCP, o.Extension = l.RTCP, l.Extension
}

// Invite puts them into an INVITE to be sent.
func (l LeakyCarrier) Invite(in *phone.Invite) {
	in.FromDisplay, in.ToDisplay = l.Display, l.Display
	in.Headers = append(in.Headers, l.Request...)
	in.SDPLines = append(in.SDPLines, l.SDPLines...)
}

// Reply puts them into a response.
func (l LeakyCarrier) Reply(r *phone.Reply) {
	r.Headers = append(r.Headers, l.Response...)
	r.SDPLines = append(r.SDPLines, l.SDPLines...)
}

// identityHeaders say who somebody is.
func identityHeaders(n, digits string) []phone.Header {
	return []phone.Header{
		{Name: "P-Asserted-Identity", Value: `"` + n + `" <sip:` + n + `@carrier.example;user=phone>`},
		{Name: "P-Asserted-Identity", Value: "<tel:" + n + ">"},
		{Name: "P-Preferred-Identity", Value: "<tel:" + n + ">"},
		{Name: "P-Associated-URI", Value: "<sip:" + n + "@carrier.example>"},
		{Name: "P-Called-Party-ID", Value: "<sip:" + n + "@carrier.example>"},
		{Name: "Remote-Party-ID", Value: "<sip:" + n + "@carrier.example>;party=calling;id-type=subscriber;privacy=off"},
		{Name: "Diversion", Value: "<tel:" + n + ">;reason=unconditional;counter=1"},
		{Name: "History-Info", Value: "<sip:" + n + "@carrier.example?Reason=SIP%3Bcause%3D302>;index=1"},
		{Name: "Referred-By", Value: "<sip:" + n + "@carrier.example>"},
		{Name: "Reply-To", Value: "<sip:" + n + "@carrier.example>"},
		{Name: "Identity", Value: passport(digits) + ";info=<https://cert.carrier.example/" + digits + ">;alg=ES256;ppt=shaken"},
		{Name: "P-Charging-Vector", Value: "icid-value=" + digits + ";orig-ioi=" + digits + ".carrier.example"},
		{Name: "P-Charging-Function-Addresses", Value: "ccf=" + digits + ".carrier.example"},
		{Name: "Session-ID", Value: strings.Repeat("0", 32-len(digits)) + digits + ";remote=00000000000000000000000000000000"},
	}
}

// infoHeaders say something about somebody.
func infoHeaders(n, digits string) []phone.Header {
	return []phone.Header{
		{Name: "Call-Info", Value: "<https://carrier.example/who/" + percent(n) + ">;purpose=info"},
		{Name: "Alert-Info", Value: "<https://carrier.example/ring/" + digits + ".wav>"},
		{Name: "Error-Info", Value: "<sip:" + n + "@announce.example>"},
		{Name: "Subject", Value: "Call of " + spaced(digits)},
		{Name: "Organization", Value: n + " Ltd"},
		{Name: "User-Agent", Value: "Gateway (" + n + ")"},
		{Name: "Server", Value: "Gateway (" + n + ")"},
		{Name: "Warning", Value: `399 carrier.example "about ` + n + `"`},
		{Name: "Reason", Value: `Q.850;cause=16;text="` + n + ` hung up"`},
		{Name: "Geolocation", Value: "<cid:" + digits + "@carrier.example>"},
		{Name: "Geolocation-Routing", Value: "yes;of=" + digits},
		{Name: "P-Access-Network-Info", Value: "3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=" + digits},
		{Name: "P-Visited-Network-ID", Value: `"` + n + `"`},
		{Name: "P-Early-Media", Value: "sendrecv;x=" + digits},
		{Name: "User-to-User", Value: hex.EncodeToString([]byte(n)) + ";encoding=hex"},
		{Name: "X-Original-Caller", Value: n},
		{Name: "X-Encoded", Value: base64.StdEncoding.EncodeToString([]byte("caller=" + n))},
	}
}

func requestHeaders(n, digits string) []phone.Header {
	return []phone.Header{
		{Name: "In-Reply-To", Value: digits + "@carrier.example"},
		{Name: "Accept-Contact", Value: `*;x-number="` + n + `"`},
		{Name: "P-User-Database", Value: "<aaa://" + digits + ".carrier.example>"},
	}
}

func responseHeaders(n, digits string) []phone.Header {
	return []phone.Header{
		{Name: "P-Answer-State", Value: "Confirmed;x=" + digits},
		{Name: "Refer-To", Value: "<sip:" + n + "@carrier.example>"},
		{Name: "Authentication-Info", Value: `nextnonce="` + digits + `"`},
	}
}

// passport is a PASSporT (RFC 8225) with the number in its claims. Nobody checks the
// signature here.
func passport(digits string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"ES256","ppt":"shaken","typ":"passport"}`)) + "." +
		part([]byte(`{"attest":"A","dest":{"tn":["`+digits+`"]},"iat":1471375418,"orig":{"tn":"`+digits+`"}}`)) + "." +
		part([]byte("no signature of anything at all, 64 bytes long, as ES256 has it."))
}

// leakyLines are lines of SDP (RFC 4566 §5) and attributes that hold text.
func leakyLines(n, digits string) []string {
	return []string{
		"o=" + digits + " " + digits + " 1 IN IP4 127.0.0.1",
		"s=" + n,
		"i=Call of " + n,
		"u=https://carrier.example/" + percent(n),
		"e=" + digits + "@carrier.example (" + n + ")",
		"p=" + spaced(digits),
		"a=tool:" + n,
		"a=cname:" + digits,
		"a=ssrc:1 cname:" + digits + "@carrier.example",
		"a=label:" + digits,
		"a=ice-ufrag:" + digits,
		"a=candidate:" + digits + " 1 UDP 2130706431 127.0.0.1 9 typ host",
		"a=fingerprint:sha-256 " + colons(n),
		"a=x-caller:" + n,
		"a=fmtp:101 0-15;x-caller=" + digits,
	}
}

// leakyBodies are requests within a dialog whose bodies hold the number.
func leakyBodies(n, digits string) []phone.Request {
	return []phone.Request{
		{Method: "INFO", Type: "application/dtmf-relay", Body: []byte("Signal=5\r\nDuration=160\r\nX-Caller=" + n + "\r\n")},
		{Method: "INFO", Type: "application/isup;version=itu-t92+", Body: isup(digits)},
		{Method: "INFO", Type: "application/json", Body: []byte(`{"caller":"\u002b` + digits + `"}`)},
		{Method: "MESSAGE", Type: "text/plain", Body: []byte("call me at " + spaced(digits))},
		{Method: "NOTIFY", Type: "message/sipfrag", Headers: []phone.Header{{Name: "Event", Value: "refer"}},
			Body: []byte("SIP/2.0 200 OK\r\nContact: <sip:" + n + "@carrier.example>\r\n")},
		{Method: "NOTIFY", Type: "application/vq-rtcpxr", Headers: []phone.Header{{Name: "Event", Value: "vq-rtcpxr"}},
			Body: []byte("VQSessionReport: CallTerm\r\nLocalID: <sip:" + n + "@carrier.example>\r\n")},
		{Method: "INFO", Type: "multipart/mixed;boundary=b", Body: []byte("--b\r\nContent-Type: application/pidf+xml\r\n\r\n" +
			"<entity>sip:&#43;" + digits + "@x</entity>\r\n--b--\r\n")},
		{Method: "REFER", Headers: []phone.Header{{Name: "Refer-To", Value: "<sip:" + n + "@carrier.example?Replaces=" + digits + ">"}}},
		{Method: "UPDATE"},
		{Method: "OPTIONS"},
	}
}

// isup is an initial address message with the number as called party (ITU-T Q.763
// §3.9: digits packed two to a byte, the first in the low half).
func isup(digits string) []byte {
	if len(digits)%2 == 1 {
		digits += "0"
	}
	b := []byte{0x01, 0x00, 0x49, 0x00, 0x0a, 0x02, 0x02, byte(2 + len(digits)/2), 0x04, 0x10}
	for i := 0; i < len(digits); i += 2 {
		b = append(b, digits[i]-'0'|(digits[i+1]-'0')<<4)
	}
	return b
}

// leakyRTCP is a compound packet: an empty receiver report, then SDES with all seven
// text items, APP and BYE with a reason (RFC 3550 §6.5 to 6.7).
func leakyRTCP(n string) []byte {
	const ssrc = 0x7ea4c0de
	header := func(count, kind byte, body []byte) []byte {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		b := binary.BigEndian.AppendUint16([]byte{2<<6 | count, kind}, uint16(len(body)/4))
		return append(b, body...)
	}
	id := binary.BigEndian.AppendUint32(nil, ssrc)
	chunk := append([]byte(nil), id...)
	for item := byte(1); item <= 7; item++ { // CNAME, NAME, EMAIL, PHONE, LOC, TOOL, NOTE
		chunk = append(append(chunk, item, byte(len(n))), n...)
	}
	chunk = append(chunk, 0)
	var b []byte
	b = append(b, header(0, 201, id)...)
	b = append(b, header(1, 202, chunk)...)
	b = append(b, header(0, 204, append(append(append([]byte(nil), id...), "TNUM"...), n...))...)
	return append(b, header(1, 203, append(append(append([]byte(nil), id...), byte(len(n))), n...))...)
}

// percent writes each character as an escape.
func percent(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// spaced groups digits as people write them.
func spaced(digits string) string {
	return "+" + digits[:2] + " (0) " + digits[2:5] + "-" + digits[5:]
}

// colons writes bytes as a fingerprint does.
func colons(s string) string {
	parts := make([]string, len(s))
	for i, c := range []byte(s) {
		parts[i] = fmt.Sprintf("%02X", c)
	}
	return strings.Join(parts, ":")
}
